package filesystem

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/storage"
)

func init() { caddy.RegisterModule(new(Module)) }

// Module configures the storage of blobs in a directory.
type Module struct {
	// The directory. Placeholders such as {env.BERTH_STORAGE} are replaced. Default: storage in Berth's data directory.
	Root string `json:"root,omitempty"`

	root string
}

// CaddyModule returns the module's name and constructor.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "berth.storage.filesystem", New: func() caddy.Module { return new(Module) }}
}

// UnmarshalCaddyfile reads
//
//	filesystem [<root>] {
//		root <directory>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		m.Root = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "root" {
			return d.Errf("storage filesystem has no option %q; the only one is root", d.Val())
		}
		if m.Root != "" {
			return d.Err("root is given twice")
		}
		if !d.AllArgs(&m.Root) {
			return d.ArgErr()
		}
	}
	return nil
}

// Provision replaces the placeholders.
func (m *Module) Provision(caddy.Context) error {
	var err error
	if m.root, err = caddy.NewReplacer().ReplaceOrErr(m.Root, true, true); err != nil {
		return fmt.Errorf("storage filesystem: root: %w", err)
	}
	return nil
}

// OpenStorage implements [storage.Opener].
func (m *Module) OpenStorage(_ context.Context, dataDir string, _ *slog.Logger) (storage.Backend, error) {
	root := m.root
	if root == "" {
		root = filepath.Join(dataDir, "storage")
	}
	return New(Config{Root: root})
}

// Identity implements [storage.Opener].
func (m *Module) Identity() string { return storage.IdentityOf("filesystem", m.root) }

// Interface guards.
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ storage.Opener        = (*Module)(nil)
)
