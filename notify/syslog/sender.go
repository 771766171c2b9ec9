// Package syslog forwards the audit log to a syslog server: messages of RFC 5424 over TCP or TLS, each with its length in front
// (RFC 6587). They wait on disk until they are sent, so that neither a server that is down nor a restart loses any, up to a bound.
// A message may come twice, with the same id.
package syslog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/pause"
	"github.com/berth-registry/berth/setting"
)

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	// chunk is how many bytes are written at once.
	chunk = 64 << 10
	// maxPause bounds the pause after a failure; minPause is the first one.
	minPause = 100 * time.Millisecond
	maxPause = 30 * time.Second
	// look is how often the setting is looked at while there is nothing to send.
	look = time.Second
)

// Options are what a [Sender] is made of. Spool, Settings and Logger are required.
type Options struct {
	Spool    *Spool
	Settings *setting.Settings
	// Authorities are trusted for tls:// servers; nil means the system's.
	Authorities *x509.CertPool
	Logger      *slog.Logger
	// Observe counts messages by what became of them: "sent" or "dropped". Nil counts nothing.
	Observe func(outcome string, messages int)
}

// Sender is the audit log's forwarder.
type Sender struct {
	options  Options
	hostname string
	wake     chan struct{}
	stop     context.CancelFunc
	done     chan struct{}
}

// New returns a sender, whose goroutine [Sender.Close] ends.
func New(options Options) *Sender {
	if options.Observe == nil {
		options.Observe = func(string, int) {}
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = ""
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Sender{options: options, hostname: hostname, wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go s.run(ctx)
	return s
}

// Forward puts entries on disk, from where they are sent.
func (s *Sender) Forward(ctx context.Context, entries []metadata.AuditEntry) error {
	var frames []byte
	for _, e := range entries {
		framed, err := frame(s.hostname, e)
		if err != nil {
			return err
		}
		frames = append(frames, framed...)
	}
	dropped, err := s.options.Spool.Append(frames)
	if dropped > 0 {
		s.options.Observe("dropped", dropped)
		s.options.Logger.WarnContext(ctx, "the buffer for the syslog server is full: the oldest messages are dropped", "messages", dropped)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return err
}

// Close ends the goroutine. What is not sent stays on disk.
func (s *Sender) Close() error {
	s.stop()
	<-s.done
	return nil
}

// run sends until the context ends.
func (s *Sender) run(ctx context.Context) {
	defer close(s.done)
	select { // of two senders, as there are for a moment when the configuration changes, one sends
	case s.options.Spool.reader <- struct{}{}:
		defer func() { <-s.options.Spool.reader }()
	case <-ctx.Done():
		return
	}
	next := minPause
	for ctx.Err() == nil {
		endpoint, err := s.endpoint(ctx)
		if err == nil && (endpoint.Address == "" || s.options.Spool.Waiting() == 0) {
			s.rest(ctx, look)
			continue
		}
		began := time.Now()
		if err == nil {
			err = s.send(ctx, endpoint)
		}
		if ctx.Err() != nil || err == nil {
			continue
		}
		if time.Since(began) > maxPause {
			next = minPause
		}
		s.options.Logger.WarnContext(ctx, "the audit log is not forwarded for the moment", "endpoint", endpoint.Address, "error", err, "waiting_bytes", s.options.Spool.Waiting())
		_ = pause.For(ctx, next+rand.N(next/2)) //nolint:gosec // jitter need not be secret; the loop sees the end
		next = min(2*next, maxPause)
	}
}

func (s *Sender) endpoint(ctx context.Context) (setting.SyslogEndpoint, error) {
	values, err := s.options.Settings.Values(ctx)
	if err != nil {
		return setting.SyslogEndpoint{}, err
	}
	return setting.ParseSyslogEndpoint(values.Text(setting.AuditLogForwardEndpoint))
}

// rest waits for something to send, or for the time.
func (s *Sender) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-timer.C:
	}
}

// written is a place in the spool and when what is before it was written to the connection.
type written struct {
	at     time.Time
	place  place
	frames int
}

// send keeps a connection and sends what comes, until the endpoint changes. What was written to a connection that then broke is
// sent again.
func (s *Sender) send(ctx context.Context, endpoint setting.SyslogEndpoint) error {
	connection, err := s.dial(ctx, endpoint)
	if err != nil {
		return err
	}
	broken := make(chan error, 1)
	go func() { // a syslog server says nothing: what ends is the connection
		_, err := io.Copy(io.Discard, connection)
		broken <- errors.Join(errors.New("the server has closed the connection"), err)
	}()
	hangUp := func() { _ = connection.Close() } // nothing is known of what was not confirmed anyhow
	defer context.AfterFunc(ctx, hangUp)()
	defer func() {
		hangUp()
		<-broken //nolint:errcheck // it was told to
	}()
	at := s.options.Spool.start()
	var pending []written
	for {
		select {
		case err := <-broken:
			broken <- err
			return err
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if pending, err = s.confirm(pending); err != nil {
			return err
		}
		if now, err := s.endpoint(ctx); err != nil || now != endpoint {
			return err
		}
		frames, next, err := s.options.Spool.read(at, chunk)
		if err != nil {
			return err
		}
		if len(frames) == 0 {
			idle := look
			if len(pending) > 0 {
				idle = settle / 4
			}
			s.wait(ctx, broken, idle)
			continue
		}
		if err := connection.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := connection.Write(frames); err != nil {
			return err
		}
		count, _ := countFrames(frames)
		at, pending = next, append(pending, written{time.Now(), next, count})
	}
}

// wait waits for something to send, the end of the connection, or the time.
func (s *Sender) wait(ctx context.Context, broken chan error, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case err := <-broken:
		broken <- err
	case <-timer.C:
	}
}

// confirm takes what has settled for received, and returns the rest.
func (s *Sender) confirm(pending []written) ([]written, error) {
	settled := 0
	for settled < len(pending) && time.Since(pending[settled].at) >= settle {
		settled++
	}
	if settled == 0 {
		return pending, nil
	}
	if err := s.options.Spool.confirm(pending[settled-1].place); err != nil {
		return pending, err
	}
	for _, w := range pending[:settled] {
		s.options.Observe("sent", w.frames)
	}
	return pending[settled:], nil
}

func (s *Sender) dial(ctx context.Context, endpoint setting.SyslogEndpoint) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAlive: 15 * time.Second}
	if !endpoint.TLS {
		connection, err := dialer.DialContext(ctx, "tcp", endpoint.Address)
		if err != nil {
			return nil, fmt.Errorf("connect to the syslog server: %w", err)
		}
		return connection, nil
	}
	secure := tls.Dialer{NetDialer: &dialer, Config: &tls.Config{RootCAs: s.options.Authorities, MinVersion: tls.VersionTLS12}}
	connection, err := secure.DialContext(ctx, "tcp", endpoint.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to the syslog server: %w", err)
	}
	return connection, nil
}
