package caddymodules

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// readPolicy reads the operator's own rows of the permission matrix, which policy judges when the configuration is loaded. Syntax:
//
//	policy {
//	    p <subject> <project> <resource> <action>
//	    g <member> <role> <project>
//	}
func (a *App) readPolicy(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		kind := d.Val()
		a.Policy = append(a.Policy, append([]string{kind}, d.RemainingArgs()...))
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}
