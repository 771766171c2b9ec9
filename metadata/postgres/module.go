package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/jackc/pgx/v5"

	"github.com/berth-registry/berth/metadata"
)

func init() {
	caddy.RegisterModule(Module{})
}

// Module configures a PostgreSQL database, which several gateways may share.
//
//	database postgres <url>
//	database postgres [<url>] {
//		url               <url>
//		max_connections   <number>
//		statement_timeout <duration> | off
//	}
type Module struct {
	// URL is a connection string of libpq. Placeholders are replaced: {env.BERTH_DATABASE_URL} keeps the password out of the
	// configuration.
	URL string `json:"url,omitempty"`
	// MaxConnections bounds the pool of this gateway. Default: 20.
	MaxConnections int `json:"max_connections,omitempty"`
	// StatementTimeout ends a statement that runs for longer. Default: 30s. A negative value leaves the server's own setting,
	// as PgBouncer needs it.
	StatementTimeout caddy.Duration `json:"statement_timeout,omitempty"`

	options Options
}

// CaddyModule returns the module's information.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "berth.database.postgres", New: func() caddy.Module { return new(Module) }}
}

// Provision replaces placeholders. It returns an error for one that has no value.
func (m *Module) Provision(caddy.Context) error {
	url, err := caddy.NewReplacer().ReplaceOrErr(m.URL, true, true)
	if err != nil {
		return fmt.Errorf("url of the postgres database: %w", err)
	}
	m.options = Options{URL: url, MaxConnections: m.MaxConnections, StatementTimeout: time.Duration(m.StatementTimeout)}
	return nil
}

// Validate checks what can be checked without the server.
func (m *Module) Validate() error {
	if m.options.URL == "" {
		return errors.New("database postgres needs a url")
	}
	if m.MaxConnections < 0 {
		return fmt.Errorf("max_connections of the postgres database is %d", m.MaxConnections)
	}
	if _, err := pgx.ParseConfig(m.options.URL); err != nil {
		return fmt.Errorf("url of the postgres database: %w", err)
	}
	return nil
}

// OpenDatabase implements [metadata.Opener].
func (m *Module) OpenDatabase(_ context.Context, _ string, logger *slog.Logger) (*metadata.Store, error) {
	return Open(m.options, logger)
}

// Identity implements [metadata.Opener].
func (m *Module) Identity() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "postgres\x00%s\x00%d\x00%s", m.options.URL, m.options.MaxConnections, m.options.StatementTimeout))
	return hex.EncodeToString(sum[:])
}

// UnmarshalCaddyfile reads the directive.
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the database
	if d.NextArg() {
		m.URL = d.Val()
	}
	if d.NextArg() {
		return d.Err("database postgres takes one argument, its url")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := m.unmarshalOption(d, d.Val()); err != nil {
			return err
		}
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	return nil
}

func (m *Module) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "url", "max_connections", "statement_timeout":
	default:
		return d.Errf("unrecognized option %q of database postgres: allowed are url, max_connections, statement_timeout", option)
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	switch option {
	case "url":
		if m.URL != "" {
			return d.Err("database postgres has two urls")
		}
		m.URL = d.Val()
	case "max_connections":
		connections, err := strconv.Atoi(d.Val())
		if err != nil || connections < 1 {
			return d.Errf("max_connections must be a number of at least 1, not %q", d.Val())
		}
		m.MaxConnections = connections
	case "statement_timeout":
		if d.Val() == "off" {
			m.StatementTimeout = -1
			return nil
		}
		timeout, err := caddy.ParseDuration(d.Val())
		if err != nil || timeout <= 0 {
			return d.Errf("statement_timeout must be a duration like 30s, or off, not %q", d.Val())
		}
		m.StatementTimeout = caddy.Duration(timeout)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddy.Validator       = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ metadata.Opener       = (*Module)(nil)
)
