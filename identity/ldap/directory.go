package ldap

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-ldap/ldap/v3"

	"github.com/berth-registry/berth/fault"
)

// MaxFound is the most that a search for people or groups returns.
const MaxFound = 500

// directory asks one directory. It is safe for concurrent use.
type directory struct {
	config Config
	pool   *pool
}

func newDirectory(config Config) (*directory, error) {
	connections, err := newPool(config)
	if err != nil {
		return nil, err
	}
	return &directory{config: config, pool: connections}, nil
}

func (d *directory) close() { d.pool.close() }

// Person is somebody in the directory.
type Person struct {
	// DN is their distinguished name, Name the one they log in with.
	DN, Name        string
	Email, RealName string

	// groups are the distinguished names in their membership attribute.
	groups []string
	// shutOut tells that the directory itself does not let them in any more.
	shutOut bool
}

// errAmbiguous says that a name is that of several people.
var errAmbiguous = fault.New(fault.Conflict, "several entries of the directory have that name: make ldap_filter or ldap_base_dn say which")

// Attributes by which directories say that an account is switched off.
const (
	accountControl = "userAccountControl"   // Active Directory, a number of flags
	accountLock    = "nsAccountLock"        // 389 Directory Server, FreeIPA
	lockedSince    = "pwdAccountLockedTime" // OpenLDAP's password policy
)

const (
	accountDisabled = 2               // a flag of accountControl
	lockedForGood   = "000001010000Z" // a value of lockedSince
)

func (d *directory) personAttributes() []string {
	attributes := []string{d.config.UID, "cn", "displayName", "mail", "email", accountControl, accountLock, lockedSince}
	if d.config.Membership != "" {
		attributes = append(attributes, d.config.Membership)
	}
	return attributes
}

// person reads an entry; name is what they were looked for by, where the entry has several names.
func (d *directory) person(entry *ldap.Entry, name string) Person {
	p := Person{
		DN: entry.DN, Name: entry.GetEqualFoldAttributeValue(d.config.UID),
		Email:    readable(cmp.Or(entry.GetEqualFoldAttributeValue("mail"), entry.GetEqualFoldAttributeValue("email"))),
		RealName: readable(cmp.Or(entry.GetEqualFoldAttributeValue("displayName"), entry.GetEqualFoldAttributeValue("cn"))),
		groups:   entry.GetEqualFoldAttributeValues(d.config.Membership),
	}
	for _, value := range entry.GetEqualFoldAttributeValues(d.config.UID) {
		if strings.EqualFold(value, name) {
			p.Name = value
		}
	}
	flags, _ := strconv.ParseInt(entry.GetEqualFoldAttributeValue(accountControl), 10, 64) // 0 where there is none
	p.shutOut = flags&accountDisabled != 0 || strings.EqualFold(entry.GetEqualFoldAttributeValue(accountLock), "true") ||
		entry.GetEqualFoldAttributeValue(lockedSince) == lockedForGood
	return p
}

// maxReadable is the longest text that is taken over from the directory, in bytes.
const maxReadable = 255

// readable is what a row can hold of a text of the directory.
func readable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return strings.ToValidUTF8(text[:min(len(text), maxReadable)], "")
}

// search returns up to most entries; when there are more, the ones that the server sent.
func (d *directory) search(c *connection, base string, scope, most int, filter string, attributes ...string) ([]*ldap.Entry, error) {
	found, err := c.Search(ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, most,
		max(1, int(d.config.Timeout/time.Second)), false, filter, attributes, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("search %s for %s: %w", base, filter, err)
	}
	return found.Entries, nil
}

// findName returns the person of a name, nil when there is none.
func (d *directory) findName(c *connection, name string) (*Person, error) {
	entries, err := d.search(c, d.config.BaseDN, d.config.Scope, 2, allOf(d.config.Filter, equals(d.config.UID, name)), d.personAttributes()...)
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject): // no answer to whether there is such a person
		return nil, fault.Because(err, fault.Unavailable, "the directory (LDAP) has no entry ldap_base_dn: an administrator has to correct the settings")
	case err != nil:
		return nil, err
	case len(entries) == 0:
		return nil, nil
	case len(entries) > 1:
		return nil, errAmbiguous
	}
	p := d.person(entries[0], name)
	return &p, nil
}

// findDN returns the person of a distinguished name, nil when there is none, or the filter has them out.
func (d *directory) findDN(c *connection, dn, name string) (*Person, error) {
	entries, err := d.search(c, dn, ldap.ScopeBaseObject, 1, allOf(d.config.Filter, present(d.config.UID)), d.personAttributes()...)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax) {
		return nil, nil
	}
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	p := d.person(entries[0], name)
	return &p, nil
}

// exists reports whether there is an entry of the distinguished name.
func (d *directory) exists(ctx context.Context, dn string) (found bool, err error) {
	err = d.pool.do(ctx, func(c *connection) error {
		entries, err := d.search(c, dn, ldap.ScopeBaseObject, 1, present("objectClass"), "1.1")
		if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax) {
			err = nil
		}
		found = len(entries) > 0
		return err
	})
	return found, err
}

// prove returns the person whose name and password these are, nil when they are nobody's. A name that nobody has is tried like one
// that somebody has, so that the time taken does not tell them apart.
func (d *directory) prove(ctx context.Context, name, password string) (proven *Person, err error) {
	err = d.pool.do(ctx, func(c *connection) error {
		found, err := d.findName(c, name)
		if err != nil {
			return err
		}
		dn := "cn=" + rand.Text() + "," + d.config.BaseDN
		if found != nil {
			dn = found.DN
		}
		right, err := c.prove(dn, password)
		proven = nil
		if right && found != nil && !found.shutOut {
			proven = found
		}
		return err
	})
	return proven, err
}

// look returns the person whom a row of ours stands for: of the distinguished name, or when that is no more, of the name. It
// returns nil when they are gone or shut out.
func (d *directory) look(ctx context.Context, dn, name string) (found *Person, err error) {
	err = d.pool.do(ctx, func(c *connection) error {
		found, err = d.findDN(c, dn, name)
		if err == nil && found == nil {
			found, err = d.findName(c, name)
		}
		return err
	})
	if errors.Is(err, errAmbiguous) || found != nil && found.shutOut {
		return nil, nil
	}
	return found, err
}

// people returns the people whose names have the part in them, or the whole name when it is to be exact.
func (d *directory) people(ctx context.Context, name string, exact bool) (found []Person, err error) {
	filter := contains(d.config.UID, name)
	if exact {
		filter = equals(d.config.UID, name)
	}
	err = d.pool.do(ctx, func(c *connection) error {
		entries, err := d.search(c, d.config.BaseDN, d.config.Scope, MaxFound, allOf(d.config.Filter, filter), d.personAttributes()...)
		found = nil
		for _, entry := range entries {
			found = append(found, d.person(entry, name))
		}
		return err
	})
	slices.SortFunc(found, func(a, b Person) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.DN, b.DN)) })
	return found, err
}

// ping connects, binds for searching and looks for the base of people.
func (d *directory) ping(ctx context.Context) error {
	return d.pool.do(ctx, func(c *connection) error {
		_, err := d.search(c, d.config.BaseDN, ldap.ScopeBaseObject, 1, present("objectClass"), "1.1")
		if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			return fault.New(fault.Invalid, "the directory has no entry %s, or does not show it to ldap_search_dn", d.config.BaseDN)
		}
		return err
	})
}
