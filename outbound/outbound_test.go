package outbound_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/outbound"
)

func TestCheck(t *testing.T) {
	parse := netip.MustParsePrefix
	for _, c := range []struct {
		networks outbound.Networks
		address  string
		allowed  bool
	}{
		{outbound.Networks{}, "192.0.2.1", true},
		{outbound.Networks{}, "10.0.0.1", true},
		{outbound.Networks{}, "127.0.0.1", true},
		{outbound.Networks{}, "::1", true},
		{outbound.Networks{}, "2001:db8::1", true},
		{outbound.Networks{}, "169.254.169.254", false},
		{outbound.Networks{}, "::ffff:169.254.169.254", false},
		{outbound.Networks{}, "64:ff9b::a9fe:a9fe", false},
		{outbound.Networks{}, "::a9fe:a9fe", false},
		{outbound.Networks{}, "fe80::1%eth0", false},
		{outbound.Networks{}, "fd00:ec2::254", false},
		{outbound.Networks{}, "0.0.0.0", false},
		{outbound.Networks{}, "::", false},
		{outbound.Networks{}, "224.0.0.1", false},
		{outbound.Networks{Deny: []netip.Prefix{parse("10.0.0.0/8")}}, "10.1.2.3", false},
		{outbound.Networks{Deny: []netip.Prefix{parse("127.0.0.0/8")}}, "::ffff:127.0.0.1", false},
		{outbound.Networks{Allow: []netip.Prefix{parse("10.0.0.0/8")}}, "10.1.2.3", true},
		{outbound.Networks{Allow: []netip.Prefix{parse("10.0.0.0/8")}}, "192.0.2.1", false},
		{outbound.Networks{Allow: []netip.Prefix{parse("169.254.10.0/24")}}, "169.254.10.1", true},
		{outbound.Networks{Allow: []netip.Prefix{parse("10.0.0.0/8")}, Deny: []netip.Prefix{parse("10.9.0.0/16")}}, "10.9.0.1", false},
	} {
		err := c.networks.Check(netip.MustParseAddr(c.address))
		if c.allowed {
			require.NoError(t, err, c.address)
		} else {
			require.ErrorIs(t, err, outbound.ErrForbidden, c.address)
			require.NotEmpty(t, err.Error())
		}
	}
}

func TestTransport_checksRedirectsAndNames(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was reached") }))
	defer target.Close()
	port := func(server *httptest.Server) string {
		u, err := url.Parse(server.URL)
		require.NoError(t, err)
		return u.Port()
	}
	redirecting := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusFound))
	defer redirecting.Close()

	// Both servers are on loopback; the other spelling of it stands for an address that is not allowed.
	networks := outbound.Networks{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	transport, err := networks.Transport(outbound.Trust{})
	require.NoError(t, err)
	client := http.Client{Transport: transport}
	for _, address := range []string{redirecting.URL, "http://localhost:" + port(target)} {
		_, err := client.Get(address) //nolint:bodyclose // there is no answer
		require.ErrorIs(t, err, outbound.ErrForbidden, address)
	}
}

func TestTransport_trust(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	for _, c := range []struct {
		trust outbound.Trust
		works bool
	}{{outbound.Trust{}, false}, {outbound.Trust{Insecure: true}, true}} {
		transport, err := outbound.Networks{}.Transport(c.trust)
		require.NoError(t, err)
		response, err := (&http.Client{Transport: transport}).Get(server.URL)
		if !c.works {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	_, err := outbound.Networks{}.Transport(outbound.Trust{CA: []byte("no PEM")})
	require.ErrorContains(t, err, "PEM")
}
