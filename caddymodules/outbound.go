package caddymodules

import (
	"fmt"
	"net/netip"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/outbound"
)

// Outbound is where the registry connects to for those who configure it: webhooks, remote registries, proxy caches.
type Outbound struct {
	// Allow, when it is given, has all networks that may be connected to. Default: all but link-local ones and those at which clouds
	// tell machines their credentials.
	Allow []string `json:"allow,omitempty"`

	// Deny are networks that may not be connected to, whatever Allow says.
	Deny []string `json:"deny,omitempty"`
}

// resolveOutbound parses the networks.
func (a *App) resolveOutbound() error {
	a.settings.outbound = outbound.Networks{}
	if a.Outbound == nil {
		return nil
	}
	var err error
	if a.settings.outbound.Allow, err = networks("allow", a.Outbound.Allow); err != nil {
		return err
	}
	a.settings.outbound.Deny, err = networks("deny", a.Outbound.Deny)
	return err
}

func networks(option string, texts []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if address, addressErr := netip.ParseAddr(text); addressErr == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("outbound %s %q: it must be an address or a network such as 10.0.0.0/8", option, text)
		}
		parsed = append(parsed, network.Masked())
	}
	return parsed, nil
}

// readOutbound reads where the registry may connect to. Syntax:
//
//	outbound {
//	    allow <network>…
//	    deny  <network>…
//	}
func (a *App) readOutbound(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.Outbound = new(Outbound)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		lists := map[string]*[]string{"allow": &a.Outbound.Allow, "deny": &a.Outbound.Deny}
		list, known := lists[name]
		if !known {
			return d.Errf("unknown option %q of outbound; the options are allow, deny", name)
		}
		given := d.RemainingArgs()
		if len(given) == 0 {
			return d.ArgErr()
		}
		*list = append(*list, given...)
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}
