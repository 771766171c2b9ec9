package caddymodules

import (
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/setting"
)

// authKinds are where people can come from besides the database.
var authKinds = []string{"ldap", "oidc"}

// readAuth reads a block that pins the settings of where people come from. Syntax:
//
//	auth ldap | oidc {
//	    <setting without its prefix> <value>
//	    ca_file                      <file>
//	}
//
// and for ldap also what [Directory] has.
func (a *App) readAuth(d *caddyfile.Dispenser) error {
	var kind string
	if !d.AllArgs(&kind) {
		return d.ArgErr()
	}
	if !slices.Contains(authKinds, kind) {
		return d.Errf("unknown kind of auth: %q; there are %s", kind, strings.Join(authKinds, ", "))
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option == "ca_file" {
			if err := a.readAuthority(d, kind); err != nil {
				return err
			}
			continue
		}
		if kind == "ldap" && slices.Contains(directoryOptions, option) {
			if err := a.readDirectory(d); err != nil {
				return err
			}
			continue
		}
		name := kind + "_" + option
		if _, known := setting.Find(name); !known {
			return d.Errf("unknown option %q of auth %s; the options are ca_file and those of the settings that begin with %s_, without that",
				option, kind, kind)
		}
		if err := a.readSetting(d, name); err != nil {
			return err
		}
	}
	return nil
}

// Directory is what no setting says about the company's directory (LDAP).
type Directory struct {
	// StartTLS encrypts connections of ldap:// URLs before anything else is said.
	StartTLS bool `json:"start_tls,omitempty"`
	// NestedGroups counts people as members of the groups that their groups are in.
	NestedGroups bool `json:"nested_groups,omitempty"`
	// Connections is the most that are open at once. Default: 8.
	Connections int `json:"connections,omitempty"`
}

// directoryOptions are the options of [Directory].
var directoryOptions = []string{"connections", "nested_groups", "start_tls"}

// readDirectory reads one option of the directory.
func (a *App) readDirectory(d *caddyfile.Dispenser) error {
	option := d.Val()
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	if a.Directory == nil {
		a.Directory = new(Directory)
	}
	if option == "connections" {
		number, err := strconv.Atoi(value)
		if err != nil || number < 1 {
			return d.Errf("connections is %q: it must be a number from 1", value)
		}
		a.Directory.Connections = number
		return noBlock(d)
	}
	if value != "on" && value != "off" {
		return d.Errf("%s is %q: it must be on or off", option, value)
	}
	if option == "start_tls" {
		a.Directory.StartTLS = value == "on"
	} else {
		a.Directory.NestedGroups = value == "on"
	}
	return noBlock(d)
}

// ldap is what the configuration file alone says about the directory.
func (a *App) ldap() ldap.Options {
	options := ldap.Options{CA: a.settings.authorities["ldap"]}
	if d := a.Directory; d != nil {
		options.StartTLS, options.NestedGroups, options.Connections = d.StartTLS, d.NestedGroups, d.Connections
	}
	return options
}

func (a *App) readAuthority(d *caddyfile.Dispenser, kind string) error {
	if _, twice := a.Authorities[kind]; twice {
		return d.Errf("ca_file of auth %s is given twice", kind)
	}
	var file string
	if !d.AllArgs(&file) {
		return d.ArgErr()
	}
	if a.Authorities == nil {
		a.Authorities = map[string]string{}
	}
	a.Authorities[kind] = file
	return noBlock(d)
}

// resolveAuthorities reads the files.
func (a *App) resolveAuthorities() error {
	a.settings.authorities = map[string]string{}
	for kind, file := range a.Authorities {
		if !slices.Contains(authKinds, kind) {
			return fmt.Errorf("authorities: unknown kind of auth: %q", kind)
		}
		content, err := readCertificates(file)
		if err != nil {
			return fmt.Errorf("ca_file of auth %s: %w", kind, err)
		}
		a.settings.authorities[kind] = content
	}
	return nil
}

// readCertificates returns the content of a PEM file of certificates.
func readCertificates(file string) (string, error) {
	path, err := caddy.NewReplacer().ReplaceOrErr(file, true, true)
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(content) {
		return "", fmt.Errorf("%s holds no PEM certificate", path)
	}
	return string(content), nil
}

// trusted returns the authorities for a kind of auth: the system's, and those of its file.
func (s settings) trusted(kind string) *x509.CertPool { return trustedBeside(s.authorities[kind]) }

// trustedBeside returns the system's authorities and more of them in PEM, nil for only the system's.
func trustedBeside(more string) *x509.CertPool {
	if more == "" {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without authorities of its own
	}
	pool.AppendCertsFromPEM([]byte(more))
	return pool
}
