package ldap

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// The bounds of what is read of a person's groups.
const (
	maxGroups = 2000
	// maxDepth is how deep groups are followed into groups.
	maxDepth = 16
	// perQuery is how many groups one search is about.
	perQuery = 50
)

// Group is a group of the directory.
type Group struct {
	// DN is its distinguished name as the directory spells it, Key the one spelling it is known by here.
	DN, Key, Name string
}

// Active Directory says by the first that it follows groups into groups itself when asked by the second.
const (
	activeDirectory = "1.2.840.113556.1.4.800"
	inChain         = ":1.2.840.113556.1.4.1941:"
)

// membership is what the directory says of a person's groups.
type membership struct {
	groups []Group
	admin  bool
}

// membersOf is the filter of groups that have one of the distinguished names for a member; rule is how members are matched.
func membersOf(rule string, dns ...string) string {
	var filters []string
	for _, dn := range dns {
		filters = append(filters, equals("member"+rule, dn), equals("uniqueMember"+rule, dn))
	}
	return anyOf(filters...)
}

// memberships reads a person's groups, and whether one of them is that of the administrators.
func (d *directory) memberships(ctx context.Context, p Person) (m membership, err error) {
	if !d.config.groups() {
		return membership{}, nil
	}
	err = d.pool.do(ctx, func(c *connection) error {
		walk := &walk{directory: d, connection: c, found: map[string]Group{}}
		if err := walk.from(p); err != nil {
			return err
		}
		m = membership{groups: walk.groups()}
		m.admin, err = walk.administers(p)
		return err
	})
	return m, err
}

// walk collects groups.
type walk struct {
	*directory
	connection *connection
	// found are the groups that count, by their keys.
	found map[string]Group
	// rule matches members when the server follows groups into groups itself.
	rule string
}

// groups returns what was found, in one order.
func (w *walk) groups() []Group {
	groups := make([]Group, 0, len(w.found))
	for _, group := range w.found {
		groups = append(groups, group)
	}
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Key, b.Key) })
	return groups
}

// from collects the groups of a person.
func (w *walk) from(p Person) error {
	if w.config.NestedGroups && w.followsGroups() {
		w.rule = inChain
	}
	members, err := w.query(anyOf(membersOf(w.rule, p.DN), equals("memberUid", p.Name)))
	if err != nil {
		return err
	}
	// A person's own attribute may name groups that do not name their members.
	listed, err := w.listed(p.groups)
	if err != nil {
		return err
	}
	frontier := append(members, listed...)
	for depth := 1; w.config.NestedGroups && w.rule == "" && len(frontier) > 0 && depth < maxDepth; depth++ {
		var next []*ldap.Entry
		for chunk := range slices.Chunk(frontier, perQuery) {
			var dns, above []string
			for _, entry := range chunk {
				dns = append(dns, entry.DN)
				above = append(above, entry.GetEqualFoldAttributeValues(w.config.Membership)...)
			}
			entries, err := w.query(membersOf("", dns...))
			if err != nil {
				return err
			}
			named, err := w.listed(above)
			if err != nil {
				return err
			}
			next = append(append(next, entries...), named...)
		}
		frontier = next
	}
	return nil
}

// query collects the groups that fit the filter and returns those that are new.
func (w *walk) query(filter string) ([]*ldap.Entry, error) {
	attributes := []string{w.config.GroupName, "cn"}
	if w.config.Membership != "" {
		attributes = append(attributes, w.config.Membership)
	}
	entries, err := w.search(w.connection, w.config.groupBase(), w.config.GroupScope, maxGroups, allOf(w.config.GroupFilter, filter), attributes...)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return nil, nil // no base, no groups
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(entry *ldap.Entry) bool {
		return !w.add(entry.DN, entry.GetEqualFoldAttributeValue(w.config.GroupName))
	}), nil
}

// listed collects the groups of these distinguished names, as far as they lie where groups do, and returns those that are new. One
// search reads them all where the server finds entries by their distinguished name; where it does not, a group is called by the
// name in it, unless a filter says which groups count.
func (w *walk) listed(dns []string) ([]*ldap.Entry, error) {
	dns = slices.DeleteFunc(slices.Clone(dns), func(dn string) bool {
		_, known := w.found[canonical(dn)]
		return known || !within(dn, w.config.groupBase(), w.config.GroupScope)
	})
	var entries []*ldap.Entry
	for chunk := range slices.Chunk(dns, perQuery) {
		var filters []string
		for _, dn := range chunk {
			filters = append(filters, equals("entryDN", dn), equals("distinguishedName", dn))
		}
		read, err := w.query(anyOf(filters...))
		if err != nil {
			return nil, err
		}
		entries = append(entries, read...)
		for _, dn := range chunk {
			if _, name, err := GroupKey(dn); err == nil && w.config.GroupFilter == "" && w.add(dn, name) {
				entries = append(entries, &ldap.Entry{DN: dn})
			}
		}
	}
	return entries, nil
}

// add notes a group and reports whether it is new.
func (w *walk) add(dn, name string) bool {
	key, given, err := GroupKey(dn)
	if err != nil || len(w.found) >= maxGroups {
		return false
	}
	if _, known := w.found[key]; known {
		return false
	}
	if name == "" {
		name = given
	}
	w.found[key] = Group{DN: dn, Key: key, Name: readable(name)}
	return true
}

// administers reports whether the person is in the group of the administrators, which may lie where other groups do not.
func (w *walk) administers(p Person) (bool, error) {
	if w.config.GroupAdminDN == "" {
		return false, nil
	}
	admin := canonical(w.config.GroupAdminDN)
	if _, in := w.found[admin]; in {
		return true, nil
	}
	if slices.ContainsFunc(p.groups, func(dn string) bool { return canonical(dn) == admin }) {
		return true, nil
	}
	dns := []string{p.DN}
	if w.config.NestedGroups && w.rule == "" {
		for _, group := range w.found {
			dns = append(dns, group.DN)
		}
	}
	for chunk := range slices.Chunk(dns, perQuery) {
		entries, err := w.search(w.connection, w.config.GroupAdminDN, ldap.ScopeBaseObject, 1,
			anyOf(membersOf(w.rule, chunk...), equals("memberUid", p.Name)), "1.1")
		if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			return false, nil
		}
		if err != nil || len(entries) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// followsGroups reports whether the server is one that follows groups into groups itself.
func (w *walk) followsGroups() bool {
	entries, err := w.search(w.connection, "", ldap.ScopeBaseObject, 1, present("objectClass"), "supportedCapabilities")
	return err == nil && len(entries) > 0 && slices.Contains(entries[0].GetEqualFoldAttributeValues("supportedCapabilities"), activeDirectory)
}

// findGroups returns the groups whose names have the part in them, or the one of a distinguished name when that is given.
func (d *directory) findGroups(ctx context.Context, name, dn string) (groups []Group, err error) {
	base, scope, filter := d.config.groupBase(), d.config.GroupScope, contains(d.config.GroupName, name)
	if dn != "" {
		base, scope = dn, ldap.ScopeBaseObject
	}
	err = d.pool.do(ctx, func(c *connection) error {
		entries, err := d.search(c, base, scope, MaxFound, allOf(d.config.GroupFilter, filter), d.config.GroupName, "cn")
		if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax) {
			err = nil
		}
		groups = nil
		for _, entry := range entries {
			if key, given, invalid := GroupKey(entry.DN); invalid == nil {
				if called := entry.GetEqualFoldAttributeValue(d.config.GroupName); called != "" {
					given = called
				}
				groups = append(groups, Group{DN: entry.DN, Key: key, Name: readable(given)})
			}
		}
		return err
	})
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key)) })
	return groups, err
}
