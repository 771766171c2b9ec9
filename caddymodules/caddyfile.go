package caddymodules

import (
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("berth", parseApp)
}

// parseApp sets up the `berth` global option.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("the berth option is given twice: put everything into one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "berth", Value: caddyconfig.JSON(app, nil)}, nil
}

// appOption is an option of the `berth` block and what reads it; the dispenser stands on the option's name.
type appOption struct {
	name string
	read func(*App, *caddyfile.Dispenser) error
}

var appOptions = []appOption{
	{"access_token_max_lifetime", duration(func(a *App) *caddy.Duration { return &a.AccessTokenMaxLifetime })},
	{"admin_password", text(func(a *App) *string { return &a.AdminPassword })},
	{"auth", (*App).readAuth},
	{"data_dir", text(func(a *App) *string { return &a.DataDir })},
	{"database", (*App).readDatabase},
	{"external_url", text(func(a *App) *string { return &a.ExternalURL })},
	{"mirror", (*App).readMirror},
	{"outbound", (*App).readOutbound},
	{"policy", (*App).readPolicy},
	{"proxy_cache_ttl", duration(func(a *App) *caddy.Duration { return &a.ProxyCacheTTL })},
	{"queue", (*App).readQueue},
	{"refresh_token_lifetime", duration(func(a *App) *caddy.Duration { return &a.RefreshTokenLifetime })},
	{"robot_max_lifetime", duration(func(a *App) *caddy.Duration { return &a.RobotMaxLifetime })},
	{"secret_key", text(func(a *App) *string { return &a.SecretKey })},
	{"settings", (*App).readSettings},
	{"storage", (*App).readStorage},
	{"syslog", (*App).readSyslog},
	{"token_lifetime", duration(func(a *App) *caddy.Duration { return &a.TokenLifetime })},
	{"upload_expiry", duration(func(a *App) *caddy.Duration { return &a.UploadExpiry })},
}

// UnmarshalCaddyfile reads the global option. Syntax:
//
//	berth {
//	    data_dir               <directory>
//	    database               sqlite | postgres <url> …
//	    storage                filesystem | s3 { … }
//	    queue                  embedded | redis <url> …
//	    admin_password         <password>
//	    secret_key             <key>
//	    external_url           <url>
//	    token_lifetime         <duration>
//	    refresh_token_lifetime <duration>
//	    upload_expiry          <duration>
//	    proxy_cache_ttl        <duration>
//	    auth                   ldap | oidc { … }
//	    settings {
//	        <name> <value>
//	    }
//	    robot_max_lifetime        <duration>
//	    access_token_max_lifetime <duration>
//	    policy {
//	        p <subject> <project> <resource> <action>
//	        g <member> <role> <project>
//	    }
//	    syslog {
//	        ca_file     <file>
//	        buffer_size <size>
//	    }
//	    mirror {
//	        <host> <project>
//	    }
//	    outbound {
//	        allow <network>…
//	        deny  <network>…
//	    }
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(appOptions, func(o appOption) bool { return o.name == name })
		if i < 0 {
			return d.Errf("unknown option %q of berth; the options are %s", name, strings.Join(appOptionNames(), ", "))
		}
		if seen[name] && name != "auth" {
			return d.Errf("option %q of berth is given twice", name)
		}
		seen[name] = true
		if err := appOptions[i].read(a, d); err != nil {
			return err
		}
	}
	return nil
}

func appOptionNames() []string {
	names := make([]string, 0, len(appOptions))
	for _, option := range appOptions {
		names = append(names, option.name)
	}
	return names
}

func text(field func(*App) *string) func(*App, *caddyfile.Dispenser) error {
	return func(a *App, d *caddyfile.Dispenser) error {
		if !d.AllArgs(field(a)) {
			return d.ArgErr()
		}
		return noBlock(d)
	}
}

func duration(field func(*App) *caddy.Duration) func(*App, *caddyfile.Dispenser) error {
	return func(a *App, d *caddyfile.Dispenser) error {
		name := d.Val()
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		parsed, err := caddy.ParseDuration(value)
		if err != nil {
			return d.Errf("%s is %q: it must be a duration such as 90s, 30m, 12h or 7d", name, value)
		}
		if parsed < time.Second {
			return d.Errf("%s is %q: it must be at least one second", name, value)
		}
		*field(a) = caddy.Duration(parsed)
		return noBlock(d)
	}
}

// noBlock refuses a block after an option that has none, which would otherwise be read as further options.
func noBlock(d *caddyfile.Dispenser) error {
	name := d.Val()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("there is no block after %q", name)
	}
	return nil
}

func (a *App) readDatabase(d *caddyfile.Dispenser) error {
	raw, err := readGuest(d, "berth.database", "engine")
	a.DatabaseRaw = raw
	return err
}

func (a *App) readStorage(d *caddyfile.Dispenser) error {
	raw, err := readGuest(d, "berth.storage", "backend")
	a.StorageRaw = raw
	return err
}

func (a *App) readQueue(d *caddyfile.Dispenser) error {
	raw, err := readGuest(d, "berth.queue", "kind")
	a.QueueRaw = raw
	return err
}

// readGuest reads the guest module that an option names, whichever modules the binary holds.
func readGuest(d *caddyfile.Dispenser, namespace, inlineKey string) ([]byte, error) {
	option := d.Val()
	if !d.NextArg() {
		return nil, d.Errf("%s needs a kind: %s", option, guestNames(namespace))
	}
	name := d.Val()
	if _, err := caddy.GetModule(namespace + "." + name); err != nil {
		return nil, d.Errf("unknown kind of %s: %q; this binary has %s", option, name, guestNames(namespace))
	}
	guest, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	var warnings []caddyconfig.Warning
	raw := caddyconfig.JSONModuleObject(guest, inlineKey, name, &warnings)
	if len(warnings) > 0 {
		return nil, d.Errf("%s %s: %s", option, name, warnings[0].Message)
	}
	return raw, nil
}

func guestNames(namespace string) string {
	var names []string
	for _, module := range caddy.GetModules(namespace) {
		names = append(names, module.ID.Name())
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*App)(nil)
