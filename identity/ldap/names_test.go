package ldap_test

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
	"github.com/berth-registry/berth/setting"
)

func TestGroupKey(t *testing.T) {
	for _, spelling := range []string{"cn=Devs,ou=Groups,dc=x", "CN=devs, OU=groups ,DC=X", `cn=\44evs,ou=groups,dc=x`} {
		key, name, err := ldap.GroupKey(spelling)
		require.NoError(t, err)
		require.Equal(t, "cn=devs,ou=groups,dc=x", key)
		require.Equal(t, "devs", strings.ToLower(name))
	}
	key, name, err := ldap.GroupKey(`cn=R\2cD\, Berlin,dc=x`)
	require.NoError(t, err)
	require.Equal(t, "R,D, Berlin", name)
	require.Equal(t, `cn=r\,d\, berlin,dc=x`, key)
	for _, wrong := range []string{"", "devs", "cn=", "=devs", "cn=devs,", ",", "cn=a,,dc=x", `cn=a\`, `cn=\zz`} {
		_, _, err := ldap.GroupKey(wrong)
		require.Equal(t, fault.Invalid, fault.Of(err), wrong)
	}
}

func FuzzGroupKey(f *testing.F) {
	for _, seed := range []string{"cn=Devs,dc=x", `cn=R\2cD\, B,dc=x`, "cn=a+uid=b,dc=x", `1.2.3=#0401FF`, "cn=\xff,dc=x", `cn=\00`, "CN = x , dc=y "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, dn string) {
		key, _, err := ldap.GroupKey(dn)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.Of(err))
			return
		}
		again, _, err := ldap.GroupKey(key)
		if err != nil || again != key {
			t.Errorf("%q is known by %q, and that by %q (%v)", dn, key, again, err)
		}
	})
}

// activeDirectory answers as far as a login goes, says that it follows groups into groups, and counts who asks it to.
func activeDirectory(t *testing.T) (url string, chained *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	chained = new(atomic.Int64)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				for {
					request, err := ber.ReadPacket(connection)
					if err != nil {
						return
					}
					for _, answer := range answers(request, chained) {
						if _, err := connection.Write(answer.Bytes()); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return "ldap://" + listener.Addr().String(), chained
}

const developersDN = "CN=Developers," + ldaptest.GroupBaseDN

func answers(request *ber.Packet, chained *atomic.Int64) []*ber.Packet {
	id, operation := request.Children[0].Value, request.Children[1]
	respond := func(tag ber.Tag, children ...*ber.Packet) *ber.Packet {
		message := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
		body := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
		for _, child := range children {
			body.AppendChild(child)
		}
		message.AppendChild(body)
		return message
	}
	text := func(value string) *ber.Packet {
		return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, value, "")
	}
	done := func(tag ber.Tag) *ber.Packet {
		return respond(tag, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, 0, ""), text(""), text(""))
	}
	entry := func(dn, attribute, value string) *ber.Packet {
		values := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		values.AppendChild(text(value))
		pair := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		pair.AppendChild(text(attribute))
		pair.AppendChild(values)
		attributes := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		attributes.AppendChild(pair)
		return respond(goldap.ApplicationSearchResultEntry, text(dn), attributes)
	}
	switch operation.Tag {
	case goldap.ApplicationBindRequest:
		return []*ber.Packet{done(goldap.ApplicationBindResponse)}
	case goldap.ApplicationSearchRequest:
	default:
		return nil
	}
	finished := done(goldap.ApplicationSearchResultDone)
	filter, err := goldap.DecompileFilter(operation.Children[6])
	switch {
	case err != nil:
		return nil
	case operation.Children[0].Value == "":
		return []*ber.Packet{entry("", "supportedCapabilities", "1.2.840.113556.1.4.800"), finished}
	case strings.Contains(filter, "(sAMAccountName=alice)"):
		return []*ber.Packet{entry("CN=Alice,"+ldaptest.BaseDN, "sAMAccountName", "Alice"), finished}
	case strings.Contains(filter, "(member:1.2.840.113556.1.4.1941:=CN=Alice,"+ldaptest.BaseDN+")"):
		chained.Add(1)
		return []*ber.Packet{entry(developersDN, "cn", "Developers"), entry("CN=Everybody,"+ldaptest.GroupBaseDN, "cn", "Everybody"), finished}
	}
	return []*ber.Packet{finished}
}

func TestSource_activeDirectoryFollowsGroupsItself(t *testing.T) {
	url, chained := activeDirectory(t)
	f := newFixture(t, url, ldap.Options{NestedGroups: true}, map[*setting.Key]any{
		setting.LDAPUID: "sAMAccountName", setting.LDAPGroupAdminDN: developersDN,
	})
	principal, err := f.ask(t, "alice", "Secret-of-alice1")
	require.NoError(t, err)
	require.Equal(t, "Alice", principal.Name, "as the directory spells it")
	require.True(t, principal.SystemAdmin)
	require.Equal(t, []string{"Developers", "Everybody"}, f.groups(t, "Alice"))
	require.EqualValues(t, 1, chained.Load(), "one search for all groups")
}
