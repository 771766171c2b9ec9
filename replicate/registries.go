package replicate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
	"github.com/berth-registry/berth/secret"
)

// What the last look at a registry has found.
const (
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
)

// CheckKind is the kind of work that looks whether registries answer.
const CheckKind = "REGISTRY_CHECK"

const (
	// checkCron is when it does, checkHistory how many looks are remembered, checksAtOnce how many registries are asked at once.
	checkCron    = "0 */5 * * * *"
	checkHistory = 5
	checksAtOnce = 8
	// pingPatience is how long an answer is waited for.
	pingPatience = 20 * time.Second
	// patience is how long a registry may stand still in the middle of a request before the connection is given up.
	patience = time.Minute
)

// The longest texts of a registry, in bytes.
const (
	maxRegistryName  = 64
	maxRegistryText  = 1024
	maxRegistryOther = 64 << 10 // key files and certificates
)

// RegistriesOptions are what [Registries] are made of. Store and Box are required.
type RegistriesOptions struct {
	Store *metadata.Store
	// Box seals the secrets.
	Box *secret.Box
	// Networks are where registries may be.
	Networks outbound.Networks
	// UserAgent is what Berth calls itself.
	UserAgent string
}

// Registries administers the registries elsewhere that are copied to, from, or cached, and opens them. It is safe for concurrent use.
type Registries struct {
	options RegistriesOptions

	mu   sync.Mutex
	open map[int64]opened
}

// opened is a registry as it was when its row was last written.
type opened struct {
	updatedAt time.Time
	registry  adapter.Registry
	transport *http.Transport
}

// NewRegistries returns the administration of a store's registries.
func NewRegistries(options RegistriesOptions) *Registries {
	return &Registries{options: options, open: map[int64]opened{}}
}

// Close lets go of idle connections.
func (r *Registries) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, o := range r.open {
		o.transport.CloseIdleConnections()
		delete(r.open, id)
	}
	return nil
}

// WantedRegistry is a registry as somebody wants it to be.
type WantedRegistry struct {
	Name, URL, Kind, Description string
	// Login is how it is logged in to, "" for "basic".
	Login, Username string
	// Secret is nil for the one that it has, or none; an empty one takes it away.
	Secret        *string
	Insecure      bool
	CACertificate string
}

// Wanted returns a registry as it is, to change it.
func Wanted(row metadata.RemoteRegistry) WantedRegistry {
	return WantedRegistry{
		Name: row.Name, URL: row.URL, Kind: row.Kind, Description: row.Description, Login: row.Login, Username: row.Username,
		Insecure: row.Insecure, CACertificate: row.CACertificate,
	}
}

// Create adds a registry, which has to answer, and returns the row. The error is a [*fault.Error]: Invalid for what cannot be meant
// and for a registry that does not answer, Conflict when the name is taken.
func (r *Registries) Create(ctx context.Context, actor event.Actor, wanted WantedRegistry) (metadata.RemoteRegistry, error) {
	row, err := r.settle(wanted, metadata.RemoteRegistry{Kind: wanted.Kind})
	if err != nil {
		return metadata.RemoteRegistry{}, err
	}
	if err := r.ping(ctx, row); err != nil {
		return metadata.RemoteRegistry{}, err
	}
	err = r.change(ctx, actor, event.RegistryCreated, row.Name, func(ctx context.Context, tx *metadata.Tx) error {
		created, err := tx.CreateRemoteRegistry(ctx, row)
		if err != nil {
			return err
		}
		row = created
		return scheduleChecks(ctx, tx)
	})
	return row, registryError(row.Name, err)
}

// scheduleChecks has registries looked at from when there is one.
func scheduleChecks(ctx context.Context, tx *metadata.Tx) error {
	_, err := tx.Schedule(ctx, CheckKind, 0)
	if !errors.Is(err, metadata.ErrNotFound) {
		return err
	}
	next, err := jobs.Next(checkCron, time.Now())
	if err != nil {
		return err
	}
	_, err = tx.PutSchedule(ctx, metadata.Schedule{Kind: CheckKind, Cadence: "Custom", Cron: checkCron, Parameters: "{}", NextAt: next})
	return err
}

// Update changes a registry. When it is reached in another way now, it has to answer, and for another host the secret has to be given
// again: what was given for one does not get to another. The error is a [*fault.Error]: Invalid, NotFound, or Conflict when the name
// is taken.
func (r *Registries) Update(ctx context.Context, actor event.Actor, id int64, wanted WantedRegistry) error {
	before, err := r.options.Store.RemoteRegistry(ctx, id)
	if err != nil {
		return registryError(wanted.Name, err)
	}
	row, err := r.settle(wanted, before)
	if err != nil {
		return err
	}
	if row.URL != before.URL || row.Username != before.Username || wanted.Secret != nil || row.Insecure != before.Insecure || row.CACertificate != before.CACertificate {
		if err := r.ping(ctx, row); err != nil {
			return err
		}
		row.Status = Healthy
	}
	return registryError(row.Name, r.change(ctx, actor, event.RegistryUpdated, row.Name, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.UpdateRemoteRegistry(ctx, row)
	}))
}

// Delete removes a registry. The error is a [*fault.Error]: NotFound, or Precondition while something has it.
func (r *Registries) Delete(ctx context.Context, actor event.Actor, id int64) error {
	row, err := r.options.Store.RemoteRegistry(ctx, id)
	if err == nil {
		err = r.change(ctx, actor, event.RegistryDeleted, row.Name, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.DeleteRemoteRegistry(ctx, id)
		})
	}
	return registryError(row.Name, err)
}

// Ping returns nil when a registry answers and takes the login: one as it is wanted, or, with an id, that one with what is wanted
// changed. The error is a [*fault.Error]: NotFound, or Invalid with the reason.
func (r *Registries) Ping(ctx context.Context, id int64, change func(*WantedRegistry)) error {
	var row metadata.RemoteRegistry
	if id != 0 {
		var err error
		if row, err = r.options.Store.RemoteRegistry(ctx, id); err != nil {
			return registryError("", err)
		}
	}
	wanted := Wanted(row)
	change(&wanted)
	if id == 0 {
		row.Kind = wanted.Kind
		wanted.Name = "new"
	}
	row, err := r.settle(wanted, row)
	if err != nil {
		return err
	}
	return r.ping(ctx, row)
}

// Open opens a registry, or returns it when it is open already. The error is a [*fault.Error] of kind NotFound when there is none.
func (r *Registries) Open(ctx context.Context, id int64) (adapter.Registry, error) {
	row, err := r.options.Store.RemoteRegistry(ctx, id)
	if err != nil {
		return nil, registryError("", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if o, known := r.open[id]; known {
		if o.updatedAt.Equal(row.UpdatedAt) {
			return o.registry, nil
		}
		o.transport.CloseIdleConnections()
		delete(r.open, id)
	}
	registry, transport, err := r.reach(row)
	if err != nil {
		return nil, err
	}
	r.open[id] = opened{row.UpdatedAt, registry, transport}
	return registry, nil
}

// Checking returns the work of looking whether registries answer.
func (r *Registries) Checking() jobs.Kind {
	return jobs.Kind{Name: CheckKind, History: checkHistory, Attempts: 1, Run: func(ctx context.Context, run *jobs.Run) error {
		rows, _, err := r.options.Store.ListRemoteRegistries(ctx, metadata.Query{Limit: -1})
		if err != nil {
			return err
		}
		var checks errgroup.Group
		checks.SetLimit(checksAtOnce)
		for _, row := range rows {
			checks.Go(func() error { return r.check(ctx, run.Log, row) })
		}
		return checks.Wait()
	}}
}

// check looks at one registry and notes a change.
func (r *Registries) check(ctx context.Context, log *jobs.Log, row metadata.RemoteRegistry) error {
	status := Healthy
	if err := r.ping(ctx, row); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		status = Unhealthy
		log.Printf("%s: %v", row.Name, err)
	}
	if status == row.Status {
		return nil
	}
	log.Printf("%s is %s now", row.Name, status)
	err := r.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.SetRemoteRegistryStatus(ctx, row.ID, status)
	})
	if errors.Is(err, metadata.ErrNotFound) {
		return nil // deleted in the meantime
	}
	return err
}

// ping asks a registry with a connection of its own.
func (r *Registries) ping(ctx context.Context, row metadata.RemoteRegistry) error {
	registry, transport, err := r.reach(row)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	if err := registry.Ping(ctx); err != nil {
		return fault.Because(err, fault.Invalid, "the registry at %s does not answer as it should: %v", row.URL, err)
	}
	return nil
}

// reach opens the registry of a row.
func (r *Registries) reach(row metadata.RemoteRegistry) (adapter.Registry, *http.Transport, error) {
	kind, known := adapter.Find(row.Kind)
	if !known {
		return nil, nil, fault.New(fault.Invalid, "no kind of registry is called %q", row.Kind)
	}
	transport, err := r.options.Networks.Transport(outbound.Trust{CA: []byte(row.CACertificate), Insecure: row.Insecure})
	if err != nil {
		return nil, nil, fault.Because(err, fault.Invalid, "registry %q: %v", row.Name, err)
	}
	options := remote.Options{URL: row.URL, Username: row.Username, Transport: outbound.Patient(transport, patience), UserAgent: r.options.UserAgent}
	if row.Secret != nil {
		plain, err := r.options.Box.Open(sealedFor(row.URL), row.Secret)
		if err != nil {
			return nil, nil, fmt.Errorf("registry %q: %w", row.Name, err)
		}
		options.Secret = string(plain)
	}
	registry, err := kind.Open(options)
	if err != nil {
		return nil, nil, fault.Because(err, fault.Invalid, "registry %q: %v", row.Name, err)
	}
	return registry, transport, nil
}

// sealedFor is the purpose of a registry's secret: it opens for no other host.
func sealedFor(address string) string { return "secret of the registry at " + hostOf(address) }

func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}

// settle checks what is wanted and returns the row with it.
func (r *Registries) settle(wanted WantedRegistry, row metadata.RemoteRegistry) (metadata.RemoteRegistry, error) {
	if wanted.Name == "" || !storable(wanted.Name, maxRegistryName) || !storable(wanted.Username, maxRegistryText) || !storable(wanted.Login, maxRegistryName) {
		return row, fault.New(fault.Invalid, "a registry has a name of 1 to %d bytes, and a login without control characters", maxRegistryName)
	}
	if len(wanted.Description) > maxRegistryText || !utf8.ValidString(wanted.Description) || strings.ContainsRune(wanted.Description, 0) {
		return row, fault.New(fault.Invalid, "the description is longer than %d bytes, or no text", maxRegistryText)
	}
	if len(wanted.CACertificate) > maxRegistryOther || wanted.Secret != nil && len(*wanted.Secret) > maxRegistryOther {
		return row, fault.New(fault.Invalid, "the secret and the certificates may have %d bytes each", maxRegistryOther)
	}
	address, err := addressOf(wanted.URL)
	if err != nil {
		return row, err
	}
	before := row
	row.Name, row.URL, row.Description, row.Insecure, row.CACertificate = wanted.Name, address, wanted.Description, wanted.Insecure, wanted.CACertificate
	row.Login, row.Username = wanted.Login, wanted.Username
	if row.Login == "" {
		row.Login = "basic"
	}
	switch {
	case wanted.Secret != nil && *wanted.Secret == "":
		row.Secret = nil
	case wanted.Secret != nil:
		row.Secret = r.options.Box.Seal(sealedFor(address), []byte(*wanted.Secret))
	case row.Secret != nil && hostOf(before.URL) != hostOf(address):
		return row, fault.New(fault.Invalid, "the registry is at another host now: give its secret again")
	}
	if row.Status == "" {
		row.Status = Healthy
	}
	_, transport, err := r.reach(row)
	if err != nil {
		return row, err
	}
	transport.CloseIdleConnections()
	return row, nil
}

// addressOf returns an address as it is stored; without a scheme it is one of https.
func addressOf(given string) (string, error) {
	given = strings.TrimRight(strings.TrimSpace(given), "/")
	if !strings.Contains(given, "://") {
		given = "https://" + given
	}
	parsed, err := url.Parse(given)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.User != nil || parsed.RawQuery != "" ||
		parsed.Fragment != "" || !storable(given, maxRegistryText) {
		return "", fault.New(fault.Invalid, "%q is no address of a registry, such as https://registry.example.com", given)
	}
	return given, nil
}

// storable reports whether a text is one line of up to n bytes.
func storable(text string, n int) bool {
	return len(text) <= n && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// change runs a transaction with the event of a change.
func (r *Registries) change(ctx context.Context, actor event.Actor, kind event.Kind, name string, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	return r.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, kind, name)
	})
}

func registryError(name string, err error) error {
	switch {
	case errors.Is(err, metadata.ErrExists):
		return fault.Because(err, fault.Conflict, "a registry called %q already exists", name)
	case errors.Is(err, metadata.ErrNotFound):
		return fault.Because(err, fault.NotFound, "there is no such registry")
	case errors.Is(err, metadata.ErrReferenced):
		return fault.Because(err, fault.Precondition, "the registry %q is in use: %v", name, err)
	}
	return err
}
