package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/metadata"
)

func init() {
	caddy.RegisterModule(Module{})
}

// defaultFile is the database's name within the data directory.
const defaultFile = "berth.db"

// Module configures an SQLite database: the default, for one gateway.
//
//	database sqlite [<path>]
type Module struct {
	// Path is the database's file; one that is not absolute lies below the data directory. Default: berth.db. Placeholders are
	// replaced.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the module's information.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "berth.database.sqlite", New: func() caddy.Module { return new(Module) }}
}

// Provision replaces placeholders. It returns an error for one that has no value.
func (m *Module) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(m.Path, true, true)
	if err != nil {
		return fmt.Errorf("path of the sqlite database: %w", err)
	}
	if path == "" {
		path = defaultFile
	}
	m.Path = path
	return nil
}

// OpenDatabase implements [metadata.Opener].
func (m *Module) OpenDatabase(ctx context.Context, dataDir string, logger *slog.Logger) (*metadata.Store, error) {
	path := m.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(dataDir, path)
	}
	return Open(ctx, path, logger)
}

// Identity implements [metadata.Opener].
func (m *Module) Identity() string {
	sum := sha256.Sum256([]byte("sqlite\x00" + m.Path))
	return hex.EncodeToString(sum[:])
}

// UnmarshalCaddyfile reads the directive.
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the database
	if d.NextArg() {
		m.Path = d.Val()
	}
	if d.NextArg() {
		return d.Errf("database sqlite takes one argument, the path of its file, and %q is one too many", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unrecognized option %q of database sqlite: it has none but its argument, the path of its file", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ metadata.Opener       = (*Module)(nil)
)
