package redis

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/jobs"
)

func init() { caddy.RegisterModule(new(Module)) }

// Module has the workers of all gateways woken through Redis, at once, for what is in the database. In the values that are text,
// placeholders such as {env.BERTH_REDIS_URL} are replaced when the configuration is loaded, so that no password has to be in it.
type Module struct {
	// Where Redis is: redis://[user:password@]host[:port][/database], with "rediss" for TLS;
	// redis+sentinel://host,host/master[/database] and redis+cluster://host,host for several.
	URL string `json:"url,omitempty"`
	// A PEM file of certificates to trust beside the system's.
	CAFile string `json:"ca_file,omitempty"`
	// What the names of the queues in Redis begin with; registries that share a Redis each need their own. Default: berth.
	Prefix string `json:"prefix,omitempty"`
	// How many tasks this gateway does at a time. Default: 8.
	WorkerCount int `json:"workers,omitempty"`

	options Options
}

// CaddyModule returns the module's name and constructor.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "berth.queue.redis", New: func() caddy.Module { return new(Module) }}
}

// UnmarshalCaddyfile reads
//
//	redis [<url>] {
//		url     <url>
//		ca_file <file>
//		prefix  <name>
//		workers <number>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	given := map[string]bool{}
	if d.NextArg() {
		m.URL, given["url"] = d.Val(), true
	}
	if d.NextArg() {
		return d.Err("queue redis takes one argument, its url")
	}
	texts := map[string]*string{"url": &m.URL, "ca_file": &m.CAFile, "prefix": &m.Prefix}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if given[name] {
			return d.Errf("%s is given twice", name)
		}
		given[name] = true
		var value string
		if into, known := texts[name]; known {
			if !d.AllArgs(into) {
				return d.ArgErr()
			}
			continue
		}
		if name != "workers" {
			return d.Errf("queue redis has no option %q; it has ca_file, prefix, url, workers", name)
		}
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

// Provision replaces the placeholders. It returns an error for one that has no value.
func (m *Module) Provision(caddy.Context) error {
	replacer := caddy.NewReplacer()
	for _, text := range []struct {
		name, from string
		to         *string
	}{{"url", m.URL, &m.options.URL}, {"ca_file", m.CAFile, &m.options.CAFile}, {"prefix", m.Prefix, &m.options.Prefix}} {
		value, err := replacer.ReplaceOrErr(text.from, true, true)
		if err != nil {
			return fmt.Errorf("%s of the redis queue: %w", text.name, err)
		}
		*text.to = value
	}
	return nil
}

// Validate checks what can be checked without Redis.
func (m *Module) Validate() error {
	if err := jobs.CheckWorkers(m.WorkerCount); err != nil {
		return err
	}
	return m.options.Validate()
}

// OpenQueue implements [jobs.Opener].
func (m *Module) OpenQueue(logger *slog.Logger) (jobs.Queue, error) { return Open(m.options, logger) }

// Workers implements [jobs.Opener].
func (m *Module) Workers() int { return m.WorkerCount }

// Identity implements [jobs.Opener].
func (m *Module) Identity() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "redis\x00%s\x00%s\x00%s\x00%d", m.options.URL, m.options.CAFile, m.options.prefix(), m.WorkerCount))
	return hex.EncodeToString(sum[:])
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddy.Validator       = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ jobs.Opener           = (*Module)(nil)
)
