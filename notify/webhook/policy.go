package webhook

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/secret"
)

// The most that there is of each.
const (
	MaxPolicies = 100 // of a project, or of the registry
	maxTargets  = 10
	maxName     = 256
	maxAddress  = 2048
	maxHidden   = 4096 // headers and secrets
	maxOther    = 64 << 10
)

// PoliciesOptions are what [Policies] are made of. All are required.
type PoliciesOptions struct {
	Store *metadata.Store
	// Box seals secrets.
	Box *secret.Box
	// Sender is asked where receivers may be, and tries targets.
	Sender *Sender
	// Jobs deliver again.
	Jobs *jobs.Jobs
}

// Policies administers webhooks. It is safe for concurrent use.
type Policies struct {
	options PoliciesOptions
}

// NewPolicies returns the administration of a store's webhooks.
func NewPolicies(options PoliciesOptions) *Policies { return &Policies{options} }

// Wanted is a webhook as somebody wants it to be.
type Wanted struct {
	Name, Description string
	Enabled           bool
	EventTypes        []string
	Targets           []WantedTarget
	// Base is how the caller reaches the registry.
	Base string
}

// WantedTarget is a target as somebody wants it to be.
type WantedTarget struct {
	// Type is "http" or "slack"; Format is "" for the first that the type has.
	Type, Format, Address string
	Insecure              bool
	CA                    string
	// AuthHeader and Secret are nil for what the target of the same place has, provided that its address is the same; "" takes it away.
	AuthHeader, Secret *string
}

// Create adds a webhook of the project, or with no project of the registry, and returns the row. The error is a [*fault.Error]: Invalid
// for what cannot be meant, Conflict when the name is taken.
func (p *Policies) Create(ctx context.Context, actor event.Actor, project metadata.Project, wanted Wanted) (metadata.WebhookPolicy, error) {
	row, err := p.settle(wanted, metadata.WebhookPolicy{ProjectID: project.ID, Creator: actor.Name})
	if err != nil {
		return row, err
	}
	err = p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		_, total, err := tx.Webhooks(ctx, project.ID, metadata.Query{Limit: 1})
		if err != nil {
			return err
		}
		if total >= MaxPolicies {
			return fault.New(fault.Invalid, "there are %d webhooks, more are not allowed", total)
		}
		created, err := tx.CreateWebhook(ctx, row)
		if err != nil {
			return err
		}
		row = created
		return tx.AppendEvent(ctx, changed(actor, event.WebhookCreated, project, row))
	})
	return row, policyError(wanted.Name, err)
}

// Get returns a webhook of the project, or with no project of the registry. The error is a [*fault.Error] of NotFound.
func (p *Policies) Get(ctx context.Context, project metadata.Project, id int64) (metadata.WebhookPolicy, error) {
	return get(ctx, p.options.Store.Reader, project, id)
}

func get(ctx context.Context, reader metadata.Reader, project metadata.Project, id int64) (metadata.WebhookPolicy, error) {
	row, err := reader.Webhook(ctx, id)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && row.ProjectID != project.ID {
		return metadata.WebhookPolicy{}, fault.New(fault.NotFound, "webhook policy %d not found", id)
	}
	return row, err
}

// Update changes a webhook. The error is a [*fault.Error]: Invalid, Conflict when the name is taken, NotFound.
func (p *Policies) Update(ctx context.Context, actor event.Actor, project metadata.Project, id int64, wanted Wanted) error {
	err := p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		row, err := get(ctx, tx.Reader, project, id)
		if err != nil {
			return err
		}
		if row, err = p.settle(wanted, row); err != nil {
			return err
		}
		if row, err = tx.UpdateWebhook(ctx, row); err != nil {
			return err
		}
		return tx.AppendEvent(ctx, changed(actor, event.WebhookUpdated, project, row))
	})
	return policyError(wanted.Name, err)
}

// Delete removes a webhook, and what was to be delivered. The error is a [*fault.Error] of NotFound.
func (p *Policies) Delete(ctx context.Context, actor event.Actor, project metadata.Project, id int64) error {
	return p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		row, err := get(ctx, tx.Reader, project, id)
		if err != nil {
			return err
		}
		if err := tx.DeleteWebhook(ctx, id); err != nil {
			return err
		}
		return tx.AppendEvent(ctx, changed(actor, event.WebhookDeleted, project, row))
	})
}

func changed(actor event.Actor, kind event.Kind, project metadata.Project, row metadata.WebhookPolicy) event.Event {
	e := actor.Event(kind)
	e.Project, e.Subject = project.Name, row.Name
	return e
}

func policyError(name string, err error) error {
	if errors.Is(err, metadata.ErrExists) {
		return fault.Because(err, fault.Conflict, "there is a webhook %q already", name)
	}
	return err
}

// settle checks what is wanted and returns the row as it becomes of what it was.
func (p *Policies) settle(wanted Wanted, row metadata.WebhookPolicy) (metadata.WebhookPolicy, error) {
	row.Name, row.Description, row.Enabled, row.Base = strings.TrimSpace(wanted.Name), wanted.Description, wanted.Enabled, wanted.Base
	if row.Name == "" || len(row.Name) > maxName || !plain(row.Name) {
		return row, fault.New(fault.Invalid, "name must be from 1 to %d bytes of text", maxName)
	}
	if len(row.Description) > maxOther || !plain(row.Description) {
		return row, fault.New(fault.Invalid, "description must be at most %d bytes of text", maxOther)
	}
	if len(wanted.EventTypes) == 0 {
		return row, fault.New(fault.Invalid, "event_types is empty: name what the webhook is for")
	}
	row.EventTypes = nil
	for _, t := range wanted.EventTypes {
		if !slices.Contains(Types(), Type(t)) {
			return row, fault.New(fault.Invalid, "event type %q is not known", t)
		}
		if !slices.Contains(row.EventTypes, t) {
			row.EventTypes = append(row.EventTypes, t)
		}
	}
	if len(wanted.Targets) == 0 || len(wanted.Targets) > maxTargets {
		return row, fault.New(fault.Invalid, "targets has %d entries: there must be from 1 to %d", len(wanted.Targets), maxTargets)
	}
	before := predecessors(row.Targets, wanted.Targets)
	row.Targets = make([]metadata.WebhookTarget, len(wanted.Targets))
	for i, target := range wanted.Targets {
		settled, err := p.settleTarget(target, before[i])
		if err != nil {
			return row, err
		}
		row.Targets[i] = settled
	}
	return row, nil
}

// predecessors returns what each of the wanted targets was: the one with its address, else the one in its place, else a new one.
// Deliveries that wait go where the target that they are for has moved.
func predecessors(before []metadata.WebhookTarget, wanted []WantedTarget) []metadata.WebhookTarget {
	were := make([]metadata.WebhookTarget, len(wanted))
	left := slices.Clone(before)
	for i, target := range wanted {
		at := slices.IndexFunc(left, func(t metadata.WebhookTarget) bool { return t.Key != "" && t.Address == target.Address })
		if at >= 0 {
			were[i], left[at].Key = left[at], ""
		}
	}
	for i := range wanted {
		switch {
		case were[i].Key != "":
		case i < len(left) && left[i].Key != "":
			were[i] = left[i]
		default:
			were[i].Key = rand.Text()
		}
	}
	return were
}

// settleTarget returns a target as it becomes of what it was. Secrets are kept for the address that they were given for: nobody gets
// them by pointing the webhook elsewhere.
func (p *Policies) settleTarget(wanted WantedTarget, was metadata.WebhookTarget) (metadata.WebhookTarget, error) {
	target := metadata.WebhookTarget{
		Key: was.Key, Type: wanted.Type, Format: wanted.Format, Address: wanted.Address, Insecure: wanted.Insecure, CA: wanted.CA,
	}
	if target.Format == "" && slices.Contains(TargetTypes(), target.Type) {
		target.Format = Formats(target.Type)[0]
	}
	if !supports(target.Type, target.Format) {
		return target, fault.New(fault.Invalid, "there are no targets of type %q with payloads of format %q", wanted.Type, wanted.Format)
	}
	if err := p.checkAddress(target.Address); err != nil {
		return target, err
	}
	if len(target.CA) > maxOther || target.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(target.CA)) {
		return target, fault.New(fault.Invalid, "ca_certificate must be certificates in PEM, of at most %d bytes", maxOther)
	}
	same := was.Address == target.Address && was.Insecure == target.Insecure && was.CA == target.CA
	for _, hidden := range []struct {
		name   string
		wanted *string
		was    []byte
		into   *[]byte
	}{
		{"auth header", wanted.AuthHeader, was.AuthHeader, &target.AuthHeader},
		{"secret", wanted.Secret, was.Secret, &target.Secret},
	} {
		switch {
		case hidden.wanted == nil && same:
			*hidden.into = hidden.was
		case hidden.wanted == nil || *hidden.wanted == "":
		case len(*hidden.wanted) > maxHidden || !plain(*hidden.wanted) || strings.ContainsFunc(*hidden.wanted, unicode.IsControl):
			return target, fault.New(fault.Invalid, "%s must be at most %d bytes of text on one line", hidden.name, maxHidden)
		default:
			*hidden.into = p.options.Box.Seal(purpose(hidden.name, target.Key), []byte(*hidden.wanted))
		}
	}
	return target, nil
}

// checkAddress refuses what cannot be called. Names are looked up when they are.
func (p *Policies) checkAddress(address string) error {
	parsed, err := url.Parse(address)
	if err != nil || len(address) > maxAddress || !plain(address) || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" || parsed.Fragment != "" {
		return fault.New(fault.Invalid, "the address of a target must be an http or https URL of at most %d bytes", maxAddress)
	}
	if parsed.User != nil {
		return fault.New(fault.Invalid, "the address of a target must not have a user and password in it: use auth_header, which is kept secret")
	}
	literal, err := netip.ParseAddr(parsed.Hostname())
	if err != nil {
		return nil //nolint:nilerr // a name
	}
	if err := p.options.Sender.options.Networks.Check(literal); err != nil {
		return fault.Because(err, fault.Invalid, "the address of a target is not allowed by the operator: %s", literal)
	}
	return nil
}

// plain reports whether a text can be stored and shown.
func plain(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }
