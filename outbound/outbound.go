// Package outbound bounds where the registry connects to on behalf of those who configure it: remote registries, webhooks, proxy
// caches. Whoever may name an address must not reach through the registry what only its machine can reach.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrForbidden says that an address may not be connected to. The message of what wraps it names the address.
var ErrForbidden = errors.New("address is not allowed by the operator")

// Networks are where connections may go. The zero value allows all but [AlwaysDenied].
type Networks struct {
	// Allow, when it is not empty, has all that is allowed, and wins over [AlwaysDenied]; Deny wins over Allow.
	Allow, Deny []netip.Prefix
}

// AlwaysDenied are networks that no operator means: link-local ones, where clouds tell machines their credentials, the other
// addresses that clouds do it at, and those of no single machine.
var AlwaysDenied = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud's metadata
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud's metadata
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure's wire server
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"), // AWS's metadata
	netip.MustParsePrefix("fd20:ce::254/128"),  // Google Cloud's metadata
	netip.MustParsePrefix("ff00::/8"),
}

// embedding are networks whose addresses have an IPv4 address in their last four bytes, which is where packets then go.
var embedding = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::/96")}

// Check returns an error that wraps [ErrForbidden] when the address may not be connected to.
func (n Networks) Check(address netip.Addr) error {
	address = plain(address)
	if contains(n.Deny, address) || !contains(n.Allow, address) && (len(n.Allow) > 0 || contains(AlwaysDenied, address)) {
		return fmt.Errorf("%w: %s", ErrForbidden, address)
	}
	return nil
}

// plain returns the address that packets go to.
func plain(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if contains(embedding, address) && address != netip.IPv6Loopback() && address != netip.IPv6Unspecified() {
		bytes := address.As16()
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return address
}

func contains(prefixes []netip.Prefix, address netip.Addr) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// dialTimeout bounds one connection attempt, handshakeTimeout the TLS handshake after it.
const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
)

// DialContext connects to an address. Every address that a name stands for is checked when it is about to be connected to, so
// neither redirects nor names that change lead past the check.
func (n Networks) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		Timeout: dialTimeout,
		Control: func(_, address string, _ syscall.RawConn) error {
			parsed, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %s", ErrForbidden, address)
			}
			return n.Check(parsed.Addr())
		},
	}
	return dialer.DialContext(ctx, network, address)
}

// Trust is how a server's certificate is judged.
type Trust struct {
	// CA has certificates in PEM that are trusted besides those of the machine.
	CA []byte
	// Insecure trusts everybody.
	Insecure bool
}

// Transport returns a transport whose connections go where they may. It has no total time limit: a transfer may take as long as
// it makes progress, which [Patient] watches. It returns an error when the trust's certificates cannot be read.
func (n Networks) Transport(trust Trust) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: trust.Insecure} //nolint:gosec // when its administrator says so
	if len(trust.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(trust.CA) {
			return nil, errors.New("the certificate authority has no certificate in PEM")
		}
		config.RootCAs = pool
	}
	return &http.Transport{
		// Proxies of the environment would connect on our behalf, past the check.
		Proxy: nil, DialContext: n.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: handshakeTimeout,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: time.Minute,
		// Uploads over HTTP/2 are bound by its flow control to about a MiB in each round trip.
		Protocols: onlyHTTP1(),
	}, nil
}

func onlyHTTP1() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return protocols
}
