package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

// Kind is the kind of work that delivers.
const Kind = "WEBHOOK"

// The headers of a request.
const (
	// SignatureHeader has "sha256=" and, in hexadecimal, the HMAC of the body under the secret of the target.
	SignatureHeader = "X-Berth-Signature"
	// DeliveryHeader has the id of the delivery, which is the same when it is tried again, and EventHeader the type of event.
	DeliveryHeader = "X-Berth-Delivery"
	EventHeader    = "X-Berth-Event"
)

const (
	// attempts is how often a delivery is tried before it is given up: over an hour and a half. refusals is how often it is where the
	// receiver answers that the request itself is wrong.
	attempts = 10
	refusals = 3
	// maxAge is how old a delivery may be to be tried again, so that what waits for a receiver that is gone for good comes to an end.
	maxAge = 24 * time.Hour
	// concurrency is how many deliveries one process makes at a time, targetLanes how many of them to one target.
	concurrency = 32
	targetLanes = 8
	// patience is after how many failures a delivery lets those of other artifacts and tags of its repository pass, maxAside how many deliveries to
	// one target may be so set aside at a time: where more fail the receiver is at fault and not what it is told.
	patience = 3
	maxAside = 20
	// takeOver is how long after the death of its gateway a delivery is made by another.
	takeOver = 15 * time.Second
	// history is how many ended deliveries are kept for each webhook.
	history = 200
	// maxAnswer is how much of an answer is kept, maxDrained how much is read so that the connection can be used again.
	maxAnswer  = 4 << 10
	maxDrained = 64 << 10
	// maxHeader bounds the header of an answer, maxRedirects how often one may lead elsewhere.
	maxHeader    = 64 << 10
	maxRedirects = 5
	// maxTransports bounds the pools of connections, of which there is one for each way to trust a receiver.
	maxTransports = 64
)

// DefaultTimeout is how long a receiver may take to answer.
const DefaultTimeout = 10 * time.Second

// SenderOptions are what a [Sender] is made of. Store, Box, Settings and Logger are required.
type SenderOptions struct {
	Store    *metadata.Store
	Box      *secret.Box
	Settings *setting.Settings
	// Networks are where receivers may be.
	Networks outbound.Networks
	// UserAgent is what Berth calls itself.
	UserAgent string
	// Timeout is how long a receiver may take to answer; 0 means [DefaultTimeout]. Pause is the one before the second attempt; 0 means
	// [jobs.DefaultPause].
	Timeout, Pause time.Duration
	// Observe is told of attempts that were "delivered", "failed" or "given up", and of events that were "turned away" because too many
	// deliveries wait for the receiver; nil tells nobody.
	Observe func(outcome string, n int)
	Logger  *slog.Logger
}

// Sender brings deliveries to their receivers. It is safe for concurrent use.
type Sender struct {
	options SenderOptions

	gates gates

	mu         sync.Mutex
	transports map[outboundTrust]*http.Transport
}

// outboundTrust is an [outbound.Trust] as a key.
type outboundTrust struct {
	ca       string
	insecure bool
}

// NewSender returns a sender.
func NewSender(options SenderOptions) *Sender {
	options.Timeout = cmp.Or(options.Timeout, DefaultTimeout)
	if options.Observe == nil {
		options.Observe = func(string, int) {}
	}
	return &Sender{options: options, gates: gates{of: map[string]*gate{}}, transports: map[outboundTrust]*http.Transport{}}
}

// Close lets go of idle connections.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	return nil
}

// forget closes the idle connections of all transports. The caller holds the lock.
func (s *Sender) forget() {
	for _, transport := range s.transports {
		transport.CloseIdleConnections()
	}
	clear(s.transports)
}

// Delivering is the kind of work that delivers.
func (s *Sender) Delivering() jobs.Kind {
	return jobs.Kind{
		Name: Kind, Run: s.run, Attempts: attempts, Pause: s.options.Pause, Concurrency: concurrency, Lanes: true, Waits: true, Lease: takeOver,
		History: history,
	}
}

// delivery are the parameters of a task.
type delivery struct {
	// ID tells the receiver when it gets the same again.
	ID       string `json:"id"`
	PolicyID int64  `json:"policy_id"`
	// Target is the key of the target.
	Target string `json:"target"`
	// Topics are what it is about: of deliveries that share one, a later one waits for an earlier one, in whatever lane that is.
	Topics []string `json:"topics,omitempty"`
	// TurnedAway, where it is set, is how many events the target is not told of because too many deliveries wait for it.
	TurnedAway  int    `json:"turned_away,omitempty"`
	EventType   Type   `json:"event_type"`
	ContentType string `json:"content_type"`
	Body        string `json:"body"`
}

// errGone says that there is nobody to deliver to any more, errUnsendable that there can be no such request.
var (
	errGone       = errors.New("not delivered")
	errUnsendable = errors.New("the webhook cannot be called as it is")
)

// run tries a delivery once.
func (s *Sender) run(ctx context.Context, run *jobs.Run) error {
	var d delivery
	if err := run.Decode(&d); err != nil {
		return err
	}
	if d.TurnedAway > 0 {
		s.options.Observe("turned away", d.TurnedAway)
		if s.gates.complain(d.Target, time.Now()) {
			s.options.Logger.WarnContext(ctx, "events are not told to a webhook: too many deliveries wait for its receiver", "webhook", d.PolicyID, "events", d.TurnedAway)
		}
		return jobs.Permanent(fmt.Errorf("%w: too many deliveries wait for the receiver, so it is not told of %d events", errGone, d.TurnedAway))
	}
	if err := s.wait(ctx, run, d); err != nil {
		return err
	}
	answer, err := s.deliver(ctx, run, d)
	pointless := errors.Is(err, errGone) || errors.Is(err, errUnsendable) || errors.Is(err, outbound.ErrForbidden)
	s.gates.leave(d.Target, answer, err != nil && ctx.Err() == nil && !pointless)
	switch {
	case err == nil:
		s.options.Observe("delivered", 1)
	case ctx.Err() != nil: // stopped, or handed over
	case pointless, time.Since(run.Task.CreatedAt) > maxAge,
		refused(answer.Status) && run.Task.Attempts >= refusals, run.Task.Attempts >= attempts:
		s.options.Observe("given up", 1)
		return jobs.Permanent(err)
	default:
		s.options.Observe("failed", 1)
		return s.again(ctx, run, d, answer, err)
	}
	return err
}

// wait lets a delivery pass when it is its turn and its target can take it. The error says what it has to wait for.
func (s *Sender) wait(ctx context.Context, run *jobs.Run, d delivery) error {
	lane, err := s.options.Store.WebhookLaneBefore(ctx, run.Task, d.Topics)
	if err == nil {
		if err := s.stepAside(ctx, run, d); err != nil {
			return err
		}
		return &jobs.Retry{Cause: errors.New("waits for an earlier delivery about the same artifact or tag"), Lane: lane, Uncounted: true}
	}
	if !errors.Is(err, metadata.ErrNotFound) {
		return err
	}
	until, err := s.options.Store.WebhookRest(ctx, d.PolicyID, d.Target)
	if err != nil {
		return err
	}
	if after := time.Until(until); after > 0 {
		cause := errors.New("waits because the receiver has asked for it until " + until.UTC().Format(time.RFC3339))
		return &jobs.Retry{Cause: cause, After: after, Uncounted: true}
	}
	if !s.gates.enter(d.Target) {
		return &jobs.Retry{Cause: errors.New("waits because the receiver does not answer, until it does again"), After: knock, Uncounted: true}
	}
	return nil
}

// again says how a delivery that has failed is tried again: when the receiver asks for it, and out of the way of others when it is likely
// at fault itself.
func (s *Sender) again(ctx context.Context, run *jobs.Run, d delivery, answer metadata.WebhookAnswer, failure error) error {
	retry := &jobs.Retry{Cause: failure, After: answer.RetryAfter}
	if run.Task.Attempts < patience || len(d.Topics) == 0 || strings.HasPrefix(run.Task.Lane, asides(d.Target)) {
		return retry
	}
	aside, err := s.options.Store.LaneLength(ctx, Kind, asides(d.Target), maxAside)
	if err == nil && aside < maxAside {
		if err := s.stepAside(ctx, run, d); err == nil {
			retry.Lane = asides(d.Target) + d.Topics[0]
			run.Log.Printf("those about other artifacts and tags go on meanwhile")
		}
	}
	return retry
}

// stepAside has later deliveries that are about something that this one is about find it when it has left its lane, behind which they
// wait until then.
func (s *Sender) stepAside(ctx context.Context, run *jobs.Run, d delivery) error {
	return s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.SetWebhookAside(ctx, run.Task.ID, d.Topics)
	})
}

// deliver looks up where the delivery goes, sends it, and notes the answer.
func (s *Sender) deliver(ctx context.Context, run *jobs.Run, d delivery) (answer metadata.WebhookAnswer, err error) {
	values, err := s.options.Settings.Values(ctx)
	if err != nil {
		return answer, err
	}
	if !values.On(setting.NotificationEnable) {
		return answer, fmt.Errorf("%w: webhooks are switched off by the setting %s", errGone, setting.NotificationEnable.Name)
	}
	policy, err := s.options.Store.Webhook(ctx, d.PolicyID)
	if errors.Is(err, metadata.ErrNotFound) {
		return answer, fmt.Errorf("%w: the webhook has been deleted", errGone)
	}
	if err != nil {
		return answer, err
	}
	target, found := targetOf(policy, d.Target)
	if !policy.Enabled || !found {
		return answer, fmt.Errorf("%w: the webhook is switched off, or does not have this target any more", errGone)
	}
	answer, err = s.post(ctx, target, d)
	answer.TaskID = run.Task.ID
	if answer.Status != 0 {
		run.Log.Printf("attempt %d of delivery %s, %s: answered %d after %s: %s", run.Task.Attempts, d.ID, d.EventType, answer.Status, answer.Duration.Round(time.Millisecond), answer.Body)
	} else {
		run.Log.Printf("attempt %d of delivery %s, %s: %v", run.Task.Attempts, d.ID, d.EventType, err)
	}
	if failure := s.note(ctx, d, answer); failure != nil {
		run.Log.Printf("the answer is not noted: %v", failure)
	}
	return answer, err
}

// refused reports whether a status says that the request itself is wrong, which time rarely heals.
func refused(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

func targetOf(policy metadata.WebhookPolicy, key string) (metadata.WebhookTarget, bool) {
	for _, target := range policy.Targets {
		if target.Key == key {
			return target, true
		}
	}
	return metadata.WebhookTarget{}, false
}

// note keeps an answer for people to read, and has all gateways heed what it asks for.
func (s *Sender) note(ctx context.Context, d delivery, answer metadata.WebhookAnswer) error {
	return s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.PutWebhookAnswer(ctx, answer); err != nil || answer.RetryAfter == 0 {
			return err
		}
		return tx.RestWebhook(ctx, d.PolicyID, d.Target, time.Now().Add(answer.RetryAfter))
	})
}

// post sends a delivery and returns the answer, whose status is 0 when there was none. The error says why it has not arrived.
func (s *Sender) post(ctx context.Context, target metadata.WebhookTarget, d delivery) (answer metadata.WebhookAnswer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, fmt.Errorf("no answer within %s", s.options.Timeout))
	defer cancel()
	began := time.Now()
	defer func() {
		answer.Duration = time.Since(began)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	request, err := s.request(ctx, target, d)
	if err != nil {
		return answer, fmt.Errorf("%w: %w", errUnsendable, err)
	}
	transport, err := s.transport(target)
	if err != nil {
		return answer, fmt.Errorf("%w: %w", errUnsendable, err)
	}
	client := http.Client{Transport: transport, CheckRedirect: follows}
	response, err := client.Do(request)
	if err != nil {
		return answer, withoutAddress(err)
	}
	defer response.Body.Close()
	beginning, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	answer.Status, answer.Body = response.StatusCode, storable(beginning)
	answer.RetryAfter = retryAfter(response, time.Now())
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return answer, fmt.Errorf("the receiver has answered %s", response.Status)
	}
	// The receiver has it: what happens to the rest of its answer is no matter.
	if err == nil {
		_, _ = io.CopyN(io.Discard, response.Body, maxDrained)
	}
	return answer, nil
}

func (s *Sender) request(ctx context.Context, target metadata.WebhookTarget, d delivery) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.Address, bytes.NewReader([]byte(d.Body)))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", withoutAddress(err))
	}
	request.Header.Set("Content-Type", d.ContentType)
	request.Header.Set("User-Agent", s.options.UserAgent)
	request.Header.Set(DeliveryHeader, d.ID)
	request.Header.Set(EventHeader, string(d.EventType))
	if len(target.AuthHeader) > 0 {
		header, err := s.options.Box.Open(purpose("auth header", target.Key), target.AuthHeader)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", string(header))
	}
	if len(target.Secret) > 0 {
		key, err := s.options.Box.Open(purpose("secret", target.Key), target.Secret)
		if err != nil {
			return nil, err
		}
		request.Header.Set(SignatureHeader, Sign(key, []byte(d.Body)))
	}
	return request, nil
}

// Sign returns the value of the signature header for a body.
func Sign(key, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// purpose is what a secret of a target is sealed for.
func purpose(of, key string) string { return "webhook target " + key + " " + of }

// transport returns the connections for a way to trust.
func (s *Sender) transport(target metadata.WebhookTarget) (*http.Transport, error) {
	trust := outboundTrust{target.CA, target.Insecure}
	s.mu.Lock()
	defer s.mu.Unlock()
	if transport, known := s.transports[trust]; known {
		return transport, nil
	}
	transport, err := s.options.Networks.Transport(outbound.Trust{CA: []byte(target.CA), Insecure: target.Insecure})
	if err != nil {
		return nil, err
	}
	transport.MaxResponseHeaderBytes = maxHeader
	if len(s.transports) >= maxTransports {
		s.forget()
	}
	s.transports[trust] = transport
	return transport, nil
}

// follows lets a redirect be followed that keeps the request as it is.
func follows(next *http.Request, before []*http.Request) error {
	switch {
	case next.Method != http.MethodPost:
		return errors.New("the receiver redirects with a status that makes another request of it: use 307 or 308, or the address that it leads to")
	case len(before) > maxRedirects:
		return fmt.Errorf("the receiver redirects more than %d times", maxRedirects)
	case before[0].URL.Scheme == "https" && next.URL.Scheme != "https":
		return errors.New("the receiver redirects from https to " + next.URL.Scheme)
	}
	return nil
}

// withoutAddress takes the method and address from an error of net/http, as the address may be a secret in itself.
func withoutAddress(err error) error {
	if located, ok := errors.AsType[*url.Error](err); ok {
		return located.Err
	}
	return err
}

// storable is a text as every database takes it.
func storable(text []byte) string {
	return strings.ReplaceAll(strings.ToValidUTF8(string(text), "\uFFFD"), "\x00", "\uFFFD")
}
