package ldap

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/setting"
)

// Options are what only the configuration file says about the directory.
type Options struct {
	// CA has certificates of authorities in PEM that are trusted beside the system's.
	CA string
	// StartTLS encrypts connections of ldap:// URLs before anything else is said.
	StartTLS bool
	// NestedGroups counts people as members of the groups that their groups are in.
	NestedGroups bool
	// Connections is the most that are open at once; 0 means [DefaultConnections].
	Connections int
}

// DefaultConnections is how many connections to the directory are open at most.
const DefaultConnections = 8

// Config says how a directory is asked. Configs with equal fields ask the same.
type Config struct {
	Options

	URL string
	// BaseDN is where people are looked for, as deep as Scope says, under the attribute UID, when Filter fits.
	BaseDN string
	Scope  int
	UID    string
	Filter string
	// SearchDN and SearchPassword are what searches bind with; an empty SearchDN searches anonymously.
	SearchDN, SearchPassword string
	// Timeout ends connecting and every request.
	Timeout    time.Duration
	VerifyCert bool

	// GroupBaseDN is where groups are, as deep as GroupScope says; empty means BaseDN. GroupFilter says which of them count, GroupName
	// which attribute names them.
	GroupBaseDN string
	GroupScope  int
	GroupFilter string
	GroupName   string
	// Membership is the attribute of people that lists their groups, "" for none.
	Membership string
	// GroupAdminDN is the group whose members are system administrators, "" for none.
	GroupAdminDN string
}

// configOf reads the settings. It reports false when no directory is configured.
func configOf(values setting.Values, options Options) (Config, bool) {
	c := Config{
		Options:    options,
		URL:        strings.TrimSpace(values.Text(setting.LDAPURL)),
		BaseDN:     values.Text(setting.LDAPBaseDN),
		Scope:      int(values.Number(setting.LDAPScope)),
		UID:        cmp.Or(values.Text(setting.LDAPUID), "cn"),
		Filter:     values.Text(setting.LDAPFilter),
		SearchDN:   values.Text(setting.LDAPSearchDN),
		Timeout:    time.Duration(values.Number(setting.LDAPTimeout)) * time.Second,
		VerifyCert: values.On(setting.LDAPVerifyCert),

		SearchPassword: values.Text(setting.LDAPSearchPassword),
		GroupBaseDN:    values.Text(setting.LDAPGroupBaseDN),
		GroupScope:     int(values.Number(setting.LDAPGroupSearchScope)),
		GroupFilter:    values.Text(setting.LDAPGroupSearchFilter),
		GroupName:      cmp.Or(values.Text(setting.LDAPGroupAttributeName), "cn"),
		Membership:     values.Text(setting.LDAPGroupMembershipAttribute),
		GroupAdminDN:   values.Text(setting.LDAPGroupAdminDN),
	}
	return c, c.URL != ""
}

// groups reports whether groups matter at all.
func (c Config) groups() bool {
	return c.GroupBaseDN != "" || c.GroupFilter != "" || c.GroupAdminDN != ""
}

// groupBase is where groups are looked for.
func (c Config) groupBase() string { return cmp.Or(c.GroupBaseDN, c.BaseDN) }

// transport is how the server is reached.
type transport struct {
	address string
	// implicit encrypts from the first byte, startTLS after asking for it.
	implicit, startTLS bool
	tls                *tls.Config
}

// The ways of a URL. The one with "+starttls" is for those who have no configuration file at hand.
const (
	schemePlain    = "ldap"
	schemeTLS      = "ldaps"
	schemeStartTLS = "ldap+starttls"
)

// transport reads the URL. The error is a [*fault.Error].
func (c Config) transport() (transport, error) {
	text := c.URL
	if !strings.Contains(text, "://") {
		scheme := schemePlain
		if strings.HasSuffix(text, ":636") {
			scheme = schemeTLS
		}
		text = scheme + "://" + text
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return transport{}, fault.New(fault.Invalid, "ldap_url is not a URL")
	}
	port := "389"
	t := transport{startTLS: c.StartTLS}
	switch parsed.Scheme {
	case schemePlain:
	case schemeStartTLS:
		t.startTLS = true
	case schemeTLS:
		t.implicit, t.startTLS = true, false
		port = "636"
	default:
		return transport{}, fault.New(fault.Invalid, "ldap_url begins with %q: it must be ldap://, ldaps:// or ldap+starttls://", parsed.Scheme+"://")
	}
	if parsed.Hostname() == "" || parsed.User != nil || strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" {
		return transport{}, fault.New(fault.Invalid, "ldap_url must be like ldaps://directory.example.com, without a path")
	}
	t.address = net.JoinHostPort(parsed.Hostname(), cmp.Or(parsed.Port(), port))
	t.tls = &tls.Config{
		ServerName: parsed.Hostname(), MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: !c.VerifyCert, //nolint:gosec // the administrator's choice, and not the default
	}
	if c.CA != "" {
		if t.tls.RootCAs, err = x509.SystemCertPool(); err != nil {
			t.tls.RootCAs = x509.NewCertPool() // a machine without authorities of its own
		}
		if !t.tls.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			return transport{}, fault.New(fault.Invalid, "the certificate authority of the directory is not a certificate in PEM")
		}
	}
	return t, nil
}

// check refuses a configuration that no directory can answer. The error is a [*fault.Error].
func (c Config) check() error {
	if _, err := c.transport(); err != nil {
		return err
	}
	for _, dn := range []struct{ name, value string }{
		{setting.LDAPBaseDN.Name, c.BaseDN}, {setting.LDAPGroupBaseDN.Name, c.GroupBaseDN}, {setting.LDAPGroupAdminDN.Name, c.GroupAdminDN},
	} {
		if _, err := ldap.ParseDN(dn.value); err != nil {
			return fault.New(fault.Invalid, "%s is not a distinguished name", dn.name)
		}
	}
	for _, filter := range []struct{ name, value string }{
		{setting.LDAPFilter.Name, c.Filter}, {setting.LDAPGroupSearchFilter.Name, c.GroupFilter},
	} {
		if _, err := ldap.CompileFilter(allOf(filter.value, present("objectClass"))); err != nil {
			return fault.New(fault.Invalid, "%s is not a filter", filter.name)
		}
	}
	return nil
}

// equals is the filter of an attribute with a value, which is taken literally.
func equals(attribute, value string) string {
	return "(" + attribute + "=" + ldap.EscapeFilter(value) + ")"
}

// contains is the filter of an attribute with a part, which is taken literally; any value when the part is empty.
func contains(attribute, part string) string {
	if part == "" {
		return present(attribute)
	}
	return "(" + attribute + "=*" + ldap.EscapeFilter(part) + "*)"
}

func present(attribute string) string { return "(" + attribute + "=*)" }

// allOf joins the filters of which all must fit; what an administrator wrote may come without parentheses, or be empty.
func allOf(filters ...string) string {
	var joined strings.Builder
	for _, filter := range filters {
		filter = strings.TrimSpace(filter)
		if filter != "" && !strings.HasPrefix(filter, "(") {
			filter = "(" + filter + ")"
		}
		joined.WriteString(filter)
	}
	return "(&" + joined.String() + ")"
}

// anyOf joins the filters of which one must fit.
func anyOf(filters ...string) string { return "(|" + strings.Join(filters, "") + ")" }

// canonical is one spelling of a distinguished name, for comparing.
func canonical(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return strings.ToLower(strings.TrimSpace(dn))
	}
	return fold(parsed)
}

// fold spells a distinguished name in lower case.
func fold(dn *ldap.DN) string {
	for _, rdn := range dn.RDNs {
		for _, attribute := range rdn.Attributes {
			attribute.Value = strings.ToLower(attribute.Value)
		}
	}
	return dn.String()
}

// within reports whether a distinguished name lies where a search of the base would find it.
func within(dn, base string, scope int) bool {
	child, err := ldap.ParseDN(dn)
	if err != nil {
		return false
	}
	parent, err := ldap.ParseDN(base)
	if err != nil {
		return false
	}
	depth := len(child.RDNs) - len(parent.RDNs)
	switch depth {
	case 0:
		return scope != ldap.ScopeSingleLevel && child.EqualFold(parent)
	case 1:
		return scope != ldap.ScopeBaseObject && parent.AncestorOfFold(child)
	}
	return depth > 1 && scope == ldap.ScopeWholeSubtree && parent.AncestorOfFold(child)
}

// GroupKey checks the distinguished name of a group and returns it in the one spelling that [metadata.UserGroup] is known by, and
// the name that is in it. The error is a [*fault.Error].
func GroupKey(dn string) (key, name string, err error) {
	parsed, err := ldap.ParseDN(dn)
	bad := err != nil || !utf8.ValidString(dn) || len(parsed.RDNs) == 0 || slices.ContainsFunc(parsed.RDNs, unnamed)
	if bad {
		return "", "", fault.New(fault.Invalid, "%q is not the distinguished name of a group", dn)
	}
	name = parsed.RDNs[0].Attributes[0].Value
	return fold(parsed), name, nil
}

// unnamed reports whether a part of a distinguished name has no attribute, or one without a name, a value or text in it.
func unnamed(rdn *ldap.RelativeDN) bool {
	return len(rdn.Attributes) == 0 || slices.ContainsFunc(rdn.Attributes, func(a *ldap.AttributeTypeAndValue) bool {
		return a.Type == "" || a.Value == "" || !utf8.ValidString(a.Value) || !utf8.ValidString(a.Type)
	})
}

// describe says how the directory is reached, without secrets.
func (t transport) describe() string {
	switch {
	case t.implicit:
		return fmt.Sprintf("%s with TLS", t.address)
	case t.startTLS:
		return fmt.Sprintf("%s with StartTLS", t.address)
	}
	return t.address
}
