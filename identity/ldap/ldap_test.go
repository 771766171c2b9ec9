package ldap_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

var operator = event.Actor{Name: "admin", Credential: "basic"}

// cheap keeps tests from hashing for seconds.
var cheap = local.Params{Memory: 64, Time: 1, Threads: 1}

type fixture struct {
	store    *metadata.Store
	settings *setting.Settings
	accounts *identity.Accounts
	source   *ldap.Source
	login    *identity.Login

	mu     sync.Mutex
	time   time.Time
	logged bytes.Buffer
}

// Write keeps the log.
func (f *fixture) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logged.Write(line)
}

func (f *fixture) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logged.String()
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

// newFixture has the local user "dora" and asks the directory at the URL.
func newFixture(t testing.TB, url string, options ldap.Options, changes map[*setting.Key]any) *fixture {
	t.Helper()
	f := &fixture{store: sqlitetest.Open(t), time: time.Unix(2_000_000_000, 0)}
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	f.settings = setting.New(setting.Options{Store: f.store, Box: box})
	f.set(t, map[*setting.Key]any{
		setting.LDAPURL: url, setting.LDAPBaseDN: ldaptest.BaseDN, setting.LDAPUID: "uid", setting.LDAPTimeout: 2.0,
		setting.LDAPSearchDN: ldaptest.ReaderDN, setting.LDAPSearchPassword: ldaptest.ReaderPassword,
		setting.LDAPGroupBaseDN: ldaptest.GroupBaseDN, setting.LDAPGroupAdminDN: ldaptest.AdminDN,
	})
	f.set(t, changes)
	f.accounts = identity.NewAccounts(f.store, f.now)
	f.source = ldap.NewSource(ldap.SourceOptions{
		Store: f.store, Settings: f.settings, Options: options, Accounts: f.accounts, Now: f.now,
		Logger: slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(func() { require.NoError(t, f.source.Close()) })
	f.accounts.Follow(ldap.SourceName, f.source)
	f.login, err = identity.NewLogin(identity.LoginOptions{
		Sources:  []identity.Source{local.NewSource(local.SourceOptions{Store: f.store, Params: cheap}), f.source},
		Accounts: f.accounts, Now: f.now,
	})
	require.NoError(t, err)
	users := local.NewUsers(local.UsersOptions{Store: f.store, Params: cheap})
	_, err = users.Create(t.Context(), operator, local.NewUser{Name: "dora", Password: "Secret-of-dora1"})
	require.NoError(t, err)
	return f
}

func (f *fixture) set(t testing.TB, changes map[*setting.Key]any) {
	t.Helper()
	require.NoError(t, f.settings.Update(t.Context(), operator, changes))
}

// ask asks the directory alone, past what is remembered.
func (f *fixture) ask(t testing.TB, name, password string) (identity.Principal, error) {
	t.Helper()
	return f.source.Authenticate(t.Context(), identity.Credentials{Name: name, Secret: password})
}

func (f *fixture) mustLogin(t testing.TB, name string) identity.Principal {
	t.Helper()
	principal, err := f.ask(t, name, ldaptest.Password(name))
	require.NoError(t, err, f.log())
	return principal
}

// groups are the names of a user's groups.
func (f *fixture) groups(t testing.TB, name string) []string {
	t.Helper()
	user, err := f.store.UserByName(t.Context(), name)
	require.NoError(t, err)
	found, err := f.store.UserGroups(t.Context(), user.ID)
	require.NoError(t, err)
	names := []string{}
	for _, group := range found {
		require.Equal(t, metadata.GroupLDAP, group.Kind)
		names = append(names, group.Name)
	}
	return names
}

func TestSource_bringsInAtFirstLogin(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	principal := f.mustLogin(t, "alice")
	require.Equal(t, identity.KindUser, principal.Kind)
	require.Equal(t, "alice", principal.Name)
	require.False(t, principal.SystemAdmin)
	user, err := f.store.UserByID(t.Context(), principal.ID)
	require.NoError(t, err)
	require.Equal(t, "ldap", user.Source)
	require.Equal(t, "uid=alice,"+ldaptest.BaseDN, user.ExternalID)
	require.Equal(t, "alice@example.org", user.Email)
	require.Equal(t, "Alice Liddell", user.RealName)
	require.Empty(t, user.PasswordHash)
	events, err := f.store.Events(t.Context(), metadata.EventCursor{}, -1)
	require.NoError(t, err)
	last := events[len(events)-1]
	require.Equal(t, event.UserCreated, last.Kind)
	require.Equal(t, "alice", last.Subject)

	other, err := f.ask(t, "ALICE", ldaptest.Password("alice"))
	require.NoError(t, err)
	require.Equal(t, principal, other, "directories do not tell upper from lower case")
	f.mustLogin(t, "carol")
	f.mustLogin(t, "bob")
}

func TestSource_refuses(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, map[*setting.Key]any{setting.LDAPFilter: "employeeType=staff"})
	server.Add(t, "dn: uid=twin,ou=contractors,"+ldaptest.BaseDN+"\nobjectClass: inetOrgPerson\nuid: twin\ncn: t\nsn: t\nemployeeType: staff\nuserPassword: Secret-of-twin1\n\n"+
		ldaptest.Person("twin", "employeeType: staff"))
	for name, credentials := range map[string][2]string{
		"wrong password":       {"alice", "Wrong-horse1"},
		"empty password":       {"alice", ""},
		"unknown":              {"nobody", "Wrong-horse1"},
		"filter has them out":  {"carol", ldaptest.Password("carol")},
		"two of the name":      {"twin", ldaptest.Password("twin")},
		"any":                  {"*", ldaptest.Password("alice")},
		"injected":             {"*)(uid=*", ldaptest.Password("alice")},
		"injected or":          {"alice)(|(uid=*", ldaptest.Password("alice")},
		"prefix":               {"ali*", ldaptest.Password("alice")},
		"escaped":              {"\\61lice", ldaptest.Password("alice")},
		"NUL":                  {"alice\x00", ldaptest.Password("alice")},
		"distinguished name":   {"uid=alice," + ldaptest.BaseDN, ldaptest.Password("alice")},
		"somebody's else's":    {"alice", ldaptest.Password("bob")},
		"not text":             {"alice\xff", ldaptest.Password("alice")},
		"the search account":   {"reader", ldaptest.ReaderPassword},
		"long":                 {strings.Repeat("a", 255), "x"},
		"password with a NUL":  {"alice", ldaptest.Password("alice") + "\x00"},
		"a local user's, huge": {"dora", strings.Repeat("x", 16<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.login.Authenticate(t.Context(), identity.Credentials{Name: credentials[0], Secret: credentials[1]})
			require.ErrorIs(t, err, identity.ErrCredentials)
			require.Equal(t, identity.ErrCredentials.Error(), err.Error(), "all are told the same")
		})
	}
	_, total, err := f.store.ListUsers(t.Context(), metadata.Query{})
	require.NoError(t, err)
	require.EqualValues(t, 1, total, "nobody was brought in")
	f.mustLogin(t, "alice")
	require.NotContains(t, f.log(), "Secret-of")
	require.NotContains(t, f.log(), "Wrong-horse1")
	require.NotContains(t, f.log(), ldaptest.ReaderPassword)
}

func TestSource_scopes(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	for scope, found := range map[int]map[string]bool{
		0: {"alice": false, "carol": false}, 1: {"alice": true, "carol": false}, 2: {"alice": true, "carol": true},
	} {
		f.set(t, map[*setting.Key]any{setting.LDAPScope: float64(scope)})
		for name, want := range found {
			_, err := f.ask(t, name, ldaptest.Password(name))
			if want {
				require.NoError(t, err, "%d %s", scope, name)
			} else {
				require.ErrorIs(t, err, identity.ErrCredentials, "%d %s", scope, name)
			}
		}
	}
	f.set(t, map[*setting.Key]any{setting.LDAPScope: 0.0, setting.LDAPBaseDN: "uid=carol,ou=contractors," + ldaptest.BaseDN})
	f.mustLogin(t, "carol")
}

func TestSource_encrypted(t *testing.T) {
	server := ldaptest.Start(t)
	startTLS := strings.Replace(server.URL, "ldap://", "ldap+starttls://", 1)
	foreign := ldaptest.NewCA(t)
	for name, c := range map[string]struct {
		url     string
		options ldap.Options
		verify  bool
		works   bool
	}{
		"LDAPS":                       {server.TLSURL, ldap.Options{CA: server.CA}, true, true},
		"LDAPS, unknown authority":    {server.TLSURL, ldap.Options{}, true, false},
		"LDAPS, wrong authority":      {server.TLSURL, ldap.Options{CA: foreign}, true, false},
		"LDAPS, not verified":         {server.TLSURL, ldap.Options{CA: foreign}, false, true},
		"LDAPS, other name":           {strings.Replace(server.TLSURL, "127.0.0.1", "localhost", 1), ldap.Options{CA: server.CA}, true, false},
		"StartTLS by the URL":         {startTLS, ldap.Options{CA: server.CA}, true, true},
		"StartTLS by the option":      {server.URL, ldap.Options{CA: server.CA, StartTLS: true}, true, true},
		"StartTLS, wrong authority":   {startTLS, ldap.Options{CA: foreign}, true, false},
		"LDAPS to a port without TLS": {strings.Replace(server.URL, "ldap://", "ldaps://", 1), ldap.Options{CA: server.CA}, true, false},
		"plain to a port with TLS":    {strings.Replace(server.TLSURL, "ldaps://", "ldap://", 1), ldap.Options{}, true, false},
		"neither":                     {server.URL, ldap.Options{}, true, true},
		"authority that is none":      {server.TLSURL, ldap.Options{CA: "x"}, true, false},
		"without a scheme":            {strings.TrimPrefix(server.URL, "ldap://"), ldap.Options{}, true, true},
		"something else":              {"https://127.0.0.1", ldap.Options{}, true, false},
		"with a path":                 {server.URL + "/dc=example", ldap.Options{}, true, false},
		"no host":                     {"ldap://", ldap.Options{}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.url, c.options, map[*setting.Key]any{setting.LDAPVerifyCert: c.verify, setting.LDAPTimeout: 1.0})
			_, err := f.ask(t, "alice", ldaptest.Password("alice"))
			ping := f.source.Ping(t.Context())
			if c.works {
				require.NoError(t, err)
				require.NoError(t, ping)
				return
			}
			require.Equal(t, fault.Unavailable, fault.Of(err), "%v", err)
			require.Equal(t, fault.Invalid, fault.Of(ping), "%v", ping)
			_, err = f.login.Authenticate(t.Context(), identity.Credentials{Name: "dora", Secret: "Secret-of-dora1"})
			require.NoError(t, err, "local users do not need the directory")
		})
	}
}

func TestSource_groups(t *testing.T) {
	server := ldaptest.Start(t)
	for name, c := range map[string]struct {
		options ldap.Options
		changes map[*setting.Key]any
		groups  map[string][]string
		admins  []string
	}{
		"direct": {
			groups: map[string][]string{"alice": {"Developers"}, "bob": {"Builders", "Developers", "hosts"}, "carol": {}, "root": {}},
			admins: []string{"root"},
		},
		"nested": {
			options: ldap.Options{NestedGroups: true},
			groups: map[string][]string{
				"alice": {"Developers", "Engineering", "Everybody"}, "bob": {"Builders", "Developers", "Engineering", "Everybody", "hosts"}, "carol": {},
			},
			admins: []string{"root", "bob"},
		},
		"filtered": {
			options: ldap.Options{NestedGroups: true},
			changes: map[*setting.Key]any{setting.LDAPGroupSearchFilter: "(description=registry)"},
			groups:  map[string][]string{"alice": {"Developers", "Engineering"}, "bob": {"Builders", "Developers", "Engineering"}},
			admins:  []string{"root", "bob"},
		},
		"by another attribute, without the one of people": {
			changes: map[*setting.Key]any{setting.LDAPGroupAttributeName: "description", setting.LDAPGroupMembershipAttribute: ""},
			groups:  map[string][]string{"bob": {"cn=developers,ou=groups,dc=example,dc=org", "hosts", "registry"}},
			admins:  []string{"root"},
		},
		"elsewhere": {
			changes: map[*setting.Key]any{setting.LDAPGroupBaseDN: "ou=elsewhere,dc=example,dc=org", setting.LDAPGroupAdminDN: ""},
			groups:  map[string][]string{"alice": {}, "root": {"Registry admins"}},
		},
		"none": {
			changes: map[*setting.Key]any{setting.LDAPGroupBaseDN: "", setting.LDAPGroupAdminDN: ""},
			groups:  map[string][]string{"alice": {}, "root": {}},
		},
		"nowhere": {
			changes: map[*setting.Key]any{setting.LDAPGroupBaseDN: "ou=nowhere,dc=example,dc=org", setting.LDAPGroupAdminDN: "cn=nobody,dc=example,dc=org"},
			groups:  map[string][]string{"alice": {}, "root": {}},
		},
		"not below": {
			changes: map[*setting.Key]any{setting.LDAPGroupBaseDN: "dc=example,dc=org", setting.LDAPGroupSearchScope: 1.0},
			groups:  map[string][]string{"alice": {}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, server.URL, c.options, c.changes)
			for person, groups := range c.groups {
				f.mustLogin(t, person)
				require.Equal(t, groups, f.groups(t, person), person)
			}
			for _, admin := range c.admins {
				require.True(t, f.mustLogin(t, admin).SystemAdmin, admin)
			}
			require.False(t, f.mustLogin(t, "alice").SystemAdmin)
		})
	}
}

func TestSource_groupsGiveRoles(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	key, _, err := ldap.GroupKey("CN=developers, ou=Groups,dc=example,dc=org")
	require.NoError(t, err)
	require.NoError(t, f.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.CreateProject(ctx, metadata.Project{Name: "engines"})
		if err != nil {
			return err
		}
		group, err := tx.CreateUserGroup(ctx, metadata.UserGroup{Name: "the developers", Kind: metadata.GroupLDAP, DN: "CN=developers", Key: key})
		if err != nil {
			return err
		}
		_, err = tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, GroupID: group.ID, RoleID: 2})
		return err
	}))
	roles := func(name string) []int {
		principal := f.mustLogin(t, name)
		roles, _, err := f.store.Roles(t.Context(), principal.ID, "engines")
		require.NoError(t, err)
		return roles
	}
	require.Equal(t, []int{2}, roles("alice"), "in whatever spelling the administrator gave the group")
	require.Empty(t, roles("carol"))
	require.Equal(t, []string{"the developers"}, f.groups(t, "alice"))
}

// leaveDevelopers takes alice out of her only group.
const leaveDevelopers = "dn: cn=Developers,ou=groups,dc=example,dc=org\nchangetype: modify\ndelete: member\nmember: uid=alice,ou=people,dc=example,dc=org\n"

func TestSource_membershipHasAnAge(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	principal := f.mustLogin(t, "alice")
	require.Equal(t, []string{"Developers"}, f.groups(t, "alice"))
	server.Modify(t, leaveDevelopers)
	f.mustLogin(t, "alice")
	require.Equal(t, []string{"Developers"}, f.groups(t, "alice"))
	f.advance(ldap.MembershipAge)
	_, err := f.accounts.Check(t.Context(), principal)
	require.NoError(t, err)
	require.Empty(t, f.groups(t, "alice"), "a token's use reads them again")

	server.Modify(t, strings.Replace(leaveDevelopers, "delete:", "add:", 1))
	f.advance(ldap.MembershipAge)
	f.mustLogin(t, "alice")
	require.Equal(t, []string{"Developers"}, f.groups(t, "alice"), "a login reads them again")

	server.Stop()
	f.advance(ldap.MembershipAge)
	_, err = f.accounts.Check(t.Context(), principal)
	require.NoError(t, err, "the last ones count while the directory is down")
	f.advance(ldap.MembershipOutage)
	_, err = f.accounts.Check(t.Context(), principal)
	require.Equal(t, fault.Unavailable, fault.Of(err), "%v", err)
}

func TestSource_whoIsGoneLosesAccess(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	for name, c := range map[string]struct{ gone, back string }{
		"alice": {
			"dn: uid=alice,ou=people,dc=example,dc=org\nchangetype: delete\n",
			ldaptest.Person("alice"),
		},
		"bob": { // moved out of sight
			"dn: uid=bob,ou=people,dc=example,dc=org\nchangetype: moddn\nnewrdn: uid=bob\ndeleteoldrdn: 0\nnewsuperior: ou=elsewhere,dc=example,dc=org\n",
			"dn: uid=bob,ou=elsewhere,dc=example,dc=org\nchangetype: moddn\nnewrdn: uid=bob\ndeleteoldrdn: 0\nnewsuperior: ou=people,dc=example,dc=org\n",
		},
		"root": { // switched off, as Active Directory has it
			"dn: uid=root,ou=people,dc=example,dc=org\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: userAccountControl\nuserAccountControl: 514\n",
			"dn: uid=root,ou=people,dc=example,dc=org\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 512\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			principal := f.mustLogin(t, name)
			server.Modify(t, c.gone)
			_, err := f.accounts.Check(t.Context(), principal)
			require.NoError(t, err)
			f.advance(ldap.MembershipAge)
			_, err = f.accounts.Check(t.Context(), principal)
			require.ErrorIs(t, err, identity.ErrVoid)
			require.Empty(t, f.groups(t, name))
			user, err := f.store.UserByName(t.Context(), name)
			require.NoError(t, err)
			require.False(t, user.Administers())
			require.False(t, user.Disabled, "the administrator's own switch stays")
			_, err = f.ask(t, name, ldaptest.Password(name))
			require.ErrorIs(t, err, identity.ErrCredentials)

			if strings.Contains(c.back, "changetype") {
				server.Modify(t, c.back)
			} else {
				server.Add(t, c.back)
			}
			again := f.mustLogin(t, name)
			require.Equal(t, principal.ID, again.ID)
			_, err = f.accounts.Check(t.Context(), again)
			require.NoError(t, err, "let in again at once")
			_, err = f.accounts.Check(t.Context(), principal)
			require.ErrorIs(t, err, identity.ErrVoid, "what was signed before stays void")
		})
	}
}

func TestSource_disabledHere(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	principal := f.mustLogin(t, "alice")
	users := local.NewUsers(local.UsersOptions{Store: f.store, Accounts: f.accounts})
	on := true
	require.NoError(t, users.Update(t.Context(), operator, principal.ID, local.Edit{Disabled: &on}))
	_, err := f.ask(t, "alice", ldaptest.Password("alice"))
	require.ErrorIs(t, err, identity.ErrCredentials)
	_, err = f.accounts.Check(t.Context(), principal)
	require.ErrorIs(t, err, identity.ErrVoid)
	password := "Secret-of-alice2"
	require.ErrorIs(t, users.Update(t.Context(), operator, principal.ID, local.Edit{Password: &password}), local.ErrElsewhere)

	require.NoError(t, users.Remove(t.Context(), operator, principal.ID))
	again := f.mustLogin(t, "alice")
	require.NotEqual(t, principal.ID, again.ID, "who is deleted here begins anew")
}

func TestSource_names(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	server.Add(t, ldaptest.Person("dora")+ldaptest.Person("semi:colon"))
	_, err := f.ask(t, "dora", ldaptest.Password("dora"))
	require.ErrorIs(t, err, identity.ErrCredentials, "the local one comes first")
	require.Contains(t, f.log(), "is that of a user of the source local")
	_, err = f.source.Import(t.Context(), operator, "dora")
	require.Equal(t, fault.Conflict, fault.Of(err))
	_, err = f.source.Import(t.Context(), operator, "semi:colon")
	require.Equal(t, fault.Invalid, fault.Of(err))

	// The entry is moved: the same person.
	principal := f.mustLogin(t, "alice")
	server.Modify(t, "dn: uid=alice,ou=people,dc=example,dc=org\nchangetype: moddn\nnewrdn: uid=alice\ndeleteoldrdn: 0\nnewsuperior: ou=contractors,ou=people,dc=example,dc=org\n")
	require.Equal(t, principal.ID, f.mustLogin(t, "alice").ID)
	// Another person gets the name while the first is there under a new one.
	server.Modify(t, "dn: uid=alice,ou=contractors,ou=people,dc=example,dc=org\nchangetype: modify\nadd: uid\nuid: alicia\n")
	server.Add(t, "dn: cn=other,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\ncn: other\nsn: other\nuserPassword: Secret-of-other1\n")
	f.set(t, map[*setting.Key]any{setting.LDAPScope: 1.0})
	_, err = f.ask(t, "alice", "Secret-of-other1")
	require.ErrorIs(t, err, identity.ErrCredentials)
	require.Contains(t, f.log(), "in the directory")
}

func TestSource_off(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	principal := f.mustLogin(t, "alice")
	f.set(t, map[*setting.Key]any{setting.LDAPURL: ""})
	_, err := f.ask(t, "alice", ldaptest.Password("alice"))
	require.ErrorIs(t, err, identity.ErrUnknown)
	_, err = f.accounts.Check(t.Context(), principal)
	require.ErrorIs(t, err, identity.ErrVoid, "nobody stands for them any more")
	for _, err := range []error{f.source.Ping(t.Context()), second(f.source.Users(t.Context(), "")), second(f.source.Groups(t.Context(), "", ""))} {
		require.Equal(t, fault.Invalid, fault.Of(err))
	}
	f.set(t, map[*setting.Key]any{setting.LDAPURL: server.URL})
	f.mustLogin(t, "alice")
	f.set(t, map[*setting.Key]any{setting.LDAPFilter: "(("})
	_, err = f.ask(t, "alice", ldaptest.Password("alice"))
	require.Equal(t, fault.Unavailable, fault.Of(err))
	require.False(t, errors.Is(err, identity.ErrCredentials))
}

func second[T any](_ T, err error) error { return err }

func TestSource_searchAndImport(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	people := func(part string) (names []string) {
		found, err := f.source.Users(t.Context(), part)
		require.NoError(t, err)
		for _, person := range found {
			names = append(names, person.Name)
		}
		return names
	}
	require.Equal(t, []string{"alice", "bob", "carol", "root"}, people(""))
	require.Equal(t, []string{"bob", "carol", "root"}, people("O"))
	require.Empty(t, people("*"))
	require.Empty(t, people("a)(uid=*"))
	groups, err := f.source.Groups(t.Context(), "E", "")
	require.NoError(t, err)
	require.Len(t, groups, 4)
	groups, err = f.source.Groups(t.Context(), "", "cn=Developers,ou=groups,dc=example,dc=org")
	require.NoError(t, err)
	require.Equal(t, []ldap.Group{{DN: "cn=Developers,ou=groups,dc=example,dc=org", Key: "cn=developers,ou=groups,dc=example,dc=org", Name: "Developers"}}, groups)
	for _, nothing := range []string{"cn=nobody,dc=example,dc=org", "nonsense"} {
		groups, err = f.source.Groups(t.Context(), "", nothing)
		require.NoError(t, err, nothing)
		require.Empty(t, groups)
	}

	imported, err := f.source.Import(t.Context(), operator, "bob")
	require.NoError(t, err)
	require.Equal(t, "Bob (the builder) *", imported.RealName)
	require.Equal(t, []string{"Builders", "Developers", "hosts"}, f.groups(t, "bob"))
	require.Equal(t, imported.ID, f.mustLogin(t, "bob").ID)
	again, err := f.source.Import(t.Context(), operator, "bob")
	require.NoError(t, err)
	require.Equal(t, imported.ID, again.ID)
	_, err = f.source.Import(t.Context(), operator, "b*")
	require.Equal(t, fault.NotFound, fault.Of(err))
}
