package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Authority is a certificate authority made for one test, and a certificate of it for the loopback names.
type Authority struct {
	// CA, Certificate and Key are the paths of PEM files.
	CA, Certificate, Key string
	pool                 *x509.CertPool
}

// NewAuthority makes an authority in a directory of the test.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	directory := t.TempDir()
	authority := &Authority{
		CA:          filepath.Join(directory, "ca.crt"),
		Certificate: filepath.Join(directory, "leaf.crt"),
		Key:         filepath.Join(directory, "leaf.key"),
		pool:        x509.NewCertPool(),
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Authority of a test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, caKey.Public(), caKey)
	require.NoError(t, err)
	root, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	authority.pool.AddCert(root)
	writePEM(t, authority.CA, "CERTIFICATE", der)

	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    template.NotBefore,
		NotAfter:     template.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), caKey)
	require.NoError(t, err)
	writePEM(t, authority.Certificate, "CERTIFICATE", der)
	key, err := x509.MarshalPKCS8PrivateKey(leafKey)
	require.NoError(t, err)
	writePEM(t, authority.Key, "PRIVATE KEY", key)
	return authority
}

// TLS is a client's configuration that trusts the authority and nobody else.
func (a *Authority) TLS() *tls.Config {
	return &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS12}
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
