package ldap_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/personal"
)

// TestSource_accessTokens has people of the directory use their access tokens, while it is there, while it is not, and after they
// have left it.
func TestSource_accessTokens(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	tokens := personal.New(personal.Options{
		Store: f.store, Accounts: f.accounts, Verifier: local.NewSource(local.SourceOptions{Store: f.store, Params: cheap}), Now: f.now,
	})
	t.Cleanup(func() { require.NoError(t, tokens.Close()) })
	use := func(name, secret string) (identity.Principal, error) {
		return tokens.Authenticate(t.Context(), identity.Credentials{Name: name, Secret: secret})
	}
	secrets := map[string]string{}
	for _, name := range []string{"alice", "root"} {
		_, secret, err := tokens.Create(t.Context(), operator, f.mustLogin(t, name).ID, personal.NewToken{Name: "laptop", Scopes: []string{"push", "read"}})
		require.NoError(t, err)
		secrets[name] = secret
	}
	alice, err := use("alice", secrets["alice"])
	require.NoError(t, err)
	require.NotNil(t, alice.Limits)
	require.False(t, alice.Limits.SystemAdmin)
	root, err := use("root", secrets["root"])
	require.NoError(t, err)
	require.False(t, root.SystemAdmin)
	require.True(t, root.Limits.SystemAdmin, "through the group of the administrators, within the limits")
	_, err = use("alice", ldaptest.Password("alice"))
	require.ErrorIs(t, err, identity.ErrUnknown, "a password is for the directory to judge")
	_, err = use("root", secrets["alice"])
	require.ErrorIs(t, err, identity.ErrCredentials)

	server.Stop()
	f.advance(ldap.MembershipAge)
	_, err = use("alice", secrets["alice"])
	require.NoError(t, err, "a directory that is down locks nobody out who has a token")
	f.advance(ldap.MembershipOutage)
	_, err = use("alice", secrets["alice"])
	require.Equal(t, fault.Unavailable, fault.Of(err), "for a day: after that nobody can tell whether she is still there")
	server.Restart(t)
	_, err = use("alice", secrets["alice"])
	require.NoError(t, err)

	server.Modify(t, "dn: "+ldaptest.AdminDN+"\nchangetype: delete\n")
	server.Modify(t, "dn: uid=alice,ou=people,dc=example,dc=org\nchangetype: delete\n")
	f.advance(ldap.MembershipAge)
	_, err = use("alice", secrets["alice"])
	require.ErrorIs(t, err, identity.ErrCredentials, "who has left the company has left")
	root, err = use("root", secrets["root"])
	require.NoError(t, err)
	require.False(t, root.Limits.SystemAdmin, "nor does a token keep what a group gave")
}
