package caddymodules

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/notify/syslog"
	"github.com/berth-registry/berth/setting"
)

// spools hold the open buffers of the syslog server, by directory.
var spools = newPool()

// Syslog is how the audit log gets to the syslog server that the setting audit_log_forward_endpoint names.
type Syslog struct {
	// CAFile is a PEM file of authorities to trust beside the system's, for tls:// servers.
	CAFile string `json:"ca_file,omitempty"`

	// BufferSize is how much waits on disk for the server, in the data directory; beyond it the oldest messages go. Default: 64MiB.
	BufferSize string `json:"buffer_size,omitempty"`
}

// syslogSettings are a [Syslog] that is resolved.
type syslogSettings struct {
	authorities string // PEM, beside the system's
	buffer      int64
}

func (s syslogSettings) identity() string { return fingerprint(s.authorities, fmt.Sprint(s.buffer)) }

// resolveSyslog reads the file of authorities.
func (a *App) resolveSyslog() error {
	a.settings.syslog = syslogSettings{buffer: syslog.DefaultLimit}
	if a.Syslog == nil {
		return nil
	}
	if a.Syslog.BufferSize != "" {
		size, err := humanize.ParseBytes(a.Syslog.BufferSize)
		if err != nil || size < syslog.MinLimit || size > 1<<40 {
			return fmt.Errorf("syslog buffer_size is %q: it must be a size such as 64MiB, at least 1MiB", a.Syslog.BufferSize)
		}
		a.settings.syslog.buffer = int64(size) //nolint:gosec // bounded above
	}
	if a.Syslog.CAFile == "" {
		return nil
	}
	authorities, err := readCertificates(a.Syslog.CAFile)
	if err != nil {
		return fmt.Errorf("syslog ca_file: %w", err)
	}
	a.settings.syslog.authorities = authorities
	return nil
}

// readSyslog reads the block of the syslog server.
func (a *App) readSyslog(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.Syslog = new(Syslog)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		fields := map[string]*string{"ca_file": &a.Syslog.CAFile, "buffer_size": &a.Syslog.BufferSize}
		field, known := fields[d.Val()]
		if !known {
			return d.Errf("unknown option %q of syslog; the options are buffer_size, ca_file", d.Val())
		}
		if !d.AllArgs(field) {
			return d.ArgErr()
		}
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}

// openAudit starts what writes the audit log and forwards it, and returns where acts that write nothing themselves are recorded.
func (s *services) openAudit(settings settings, store *metadata.Store, configuration *setting.Settings) (*audit.Recorder, error) {
	directory := filepath.Join(settings.dataDir, "syslog")
	spool, closeSpool, err := share(spools, directory, func() (*syslog.Spool, error) { return syslog.OpenSpool(directory) })
	if err != nil {
		return nil, err
	}
	s.onClose(closeSpool)
	spool.Limit(settings.syslog.buffer)
	sender := syslog.New(syslog.Options{
		Spool: spool, Settings: configuration, Authorities: trustedBeside(settings.syslog.authorities), Logger: s.logger,
		Observe: func(outcome string, messages int) { metrics.forwarded.WithLabelValues(outcome).Add(float64(messages)) },
	})
	s.onClose(sender.Close)

	follower := follow.New(follow.Options{
		Store: store, Name: audit.Follower, Handle: audit.New(configuration, sender).Handle, Logger: s.logger,
	})
	s.run(follower.Run)

	recorder := audit.NewRecorder(audit.RecorderOptions{Store: store, Logger: s.logger})
	s.onClose(recorder.Close)
	return recorder, nil
}

// run runs fn until the core closes.
func (s *services) run(fn func(ctx context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(ctx)
	}()
	s.onClose(func() error {
		stop()
		<-done
		return nil
	})
}

// recordLogin records a login as an event, unless a session begins with it, which writes its own.
func recordLogin(record func(event.Event)) func(context.Context, identity.Credentials, identity.Principal, error) {
	return func(ctx context.Context, credentials identity.Credentials, principal identity.Principal, err error) {
		if credentials.Session {
			return
		}
		e := event.Event{Kind: event.LoggedIn, Actor: principal.Name, Credential: "basic", RequestID: requestID(ctx), Address: credentials.Address}
		if err != nil {
			e.Kind, e.Actor = event.LoginFailed, credentials.Name
		}
		e.Subject = e.Actor
		record(e)
	}
}
