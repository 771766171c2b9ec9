package caddymodules

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/setting"
)

// readSettings reads the block of pinned settings.
func (a *App) readSettings(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if _, known := setting.Find(name); !known {
			return d.Errf("there is no setting %q: the names are those of the configuration API", name)
		}
		if err := a.readSetting(d, name); err != nil {
			return err
		}
	}
	return nil
}

// readSetting reads the value of a pinned setting.
func (a *App) readSetting(d *caddyfile.Dispenser, name string) error {
	if _, twice := a.Settings[name]; twice {
		return d.Errf("setting %q is given twice", name)
	}
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	if a.Settings == nil {
		a.Settings = map[string]string{}
	}
	a.Settings[name] = value
	return noBlock(d)
}

// pinSettings resolves the settings that the configuration has taken over.
func (a *App) pinSettings() error {
	replacer := caddy.NewReplacer()
	for name, text := range a.Settings {
		key, known := setting.Find(name)
		if !known {
			return fmt.Errorf("settings: there is no setting %q", name)
		}
		resolved, err := replacer.ReplaceOrErr(text, true, true)
		if err != nil {
			return fmt.Errorf("settings: %s: %w", name, err)
		}
		if err := a.settings.pin(key, resolved); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
	}
	if a.TokenLifetime == 0 {
		return nil
	}
	if _, both := a.settings.pinned[setting.TokenExpiration]; both {
		return fmt.Errorf("token_lifetime and the setting %s say the same: give one of them", setting.TokenExpiration.Name)
	}
	minutes := (time.Duration(a.TokenLifetime) + time.Minute - 1) / time.Minute
	return a.settings.pin(setting.TokenExpiration, int64(minutes))
}

// pin lets the configuration file have the value of a setting: it shows as not editable. The error says what is wrong with the
// value.
func (s *settings) pin(key *setting.Key, value any) error {
	checked, err := key.Check(value)
	if err != nil {
		return err
	}
	if s.pinned == nil {
		s.pinned = map[*setting.Key]any{}
	}
	s.pinned[key] = checked
	return nil
}
