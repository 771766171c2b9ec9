// Package embedded is the queue that is none: the workers of each gateway look in the database for what is to be done.
package embedded

import (
	"log/slog"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/jobs"
)

func init() { caddy.RegisterModule(new(Module)) }

// Module has work in the background found in the database: at once by the gateway that was asked for it, within two seconds by others.
type Module struct {
	// How many tasks this gateway does at a time. Default: 8.
	WorkerCount int `json:"workers,omitempty"`
}

// CaddyModule returns the module's name and constructor.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "berth.queue.embedded", New: func() caddy.Module { return new(Module) }}
}

// UnmarshalCaddyfile reads
//
//	embedded {
//		workers <number>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "workers" {
			return d.Errf("queue embedded has no option %q; it has workers", d.Val())
		}
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		count, err := strconv.Atoi(value)
		if err != nil || count < 1 || count > jobs.MaxWorkers {
			return d.Errf("workers is %q: it must be a number from 1 to %d", value, jobs.MaxWorkers)
		}
		m.WorkerCount = count
	}
	return nil
}

// Validate refuses a number of workers that nobody can mean.
func (m *Module) Validate() error { return jobs.CheckWorkers(m.WorkerCount) }

// OpenQueue implements [jobs.Opener].
func (*Module) OpenQueue(*slog.Logger) (jobs.Queue, error) { return nil, nil }

// Workers implements [jobs.Opener].
func (m *Module) Workers() int { return m.WorkerCount }

// Identity implements [jobs.Opener].
func (m *Module) Identity() string { return strconv.Itoa(m.WorkerCount) }

// Interface guards.
var (
	_ caddy.Validator       = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ jobs.Opener           = (*Module)(nil)
)
