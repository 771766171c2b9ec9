// Package s3server starts real S3 servers for tests: versitygw and MinIO, on loopback and a free port, each with an empty
// bucket. The programs are looked for on the PATH and in the directory that e2e/install.sh fills; one that is missing fails the
// test.
package s3server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/outputtest"
)

// The credentials and the bucket of every server.
const (
	AccessKey = "berth-test"
	SecretKey = "berth-test-secret"
	Bucket    = "blobs"
	Region    = "us-east-1"
)

// Server is a server that runs until the test is over.
type Server struct {
	// Endpoint is its URL.
	Endpoint string
	// CAFile is the certificate to trust, for a server with TLS.
	CAFile string
	// PID is its process.
	PID int
	// Data is the directory it keeps objects in.
	Data string
}

// Option changes how a server is started.
type Option func(*options)

type options struct {
	tls  bool
	data string
}

// WithTLS has the server speak TLS with a certificate for 127.0.0.1 and localhost.
func WithTLS() Option { return func(o *options) { o.tls = true } }

// WithData has the server keep its objects in a directory.
func WithData(directory string) Option { return func(o *options) { o.data = directory } }

// StartVersityGW starts versitygw.
func StartVersityGW(t testing.TB, opts ...Option) *Server {
	t.Helper()
	return start(t, opts, func(o options, address, certificate, key string) *exec.Cmd {
		arguments := []string{"--port", address, "--quiet", "--iam-dir", t.TempDir()}
		if o.tls {
			arguments = append(arguments, "--cert", certificate, "--key", key)
		}
		command := exec.Command(program(t, "versitygw"), append(arguments, "posix", o.data)...)
		command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
		return command
	})
}

// StartMinIO starts MinIO.
func StartMinIO(t testing.TB, opts ...Option) *Server {
	t.Helper()
	return start(t, opts, func(o options, address, certificate, _ string) *exec.Cmd {
		arguments := []string{"server", "--quiet", "--address", address, "--console-address", freeAddress(t)}
		if o.tls {
			arguments = append(arguments, "--certs-dir", filepath.Dir(certificate))
		}
		command := exec.Command(program(t, "minio"), append(arguments, o.data)...)
		command.Env = append(os.Environ(), "MINIO_ROOT_USER="+AccessKey, "MINIO_ROOT_PASSWORD="+SecretKey,
			"MINIO_UPDATE=off", "MINIO_BROWSER=off", "MINIO_CALLHOME_ENABLE=off")
		return command
	})
}

func start(t testing.TB, opts []Option, command func(o options, address, certificate, key string) *exec.Cmd) *Server {
	t.Helper()
	var o options
	for _, option := range opts {
		option(&o)
	}
	if o.data == "" {
		o.data = t.TempDir()
	}
	address := freeAddress(t)
	server := &Server{Endpoint: "http://" + address, Data: o.data}
	var certificate, key string
	if o.tls {
		certificate, key = writeCertificate(t)
		server.Endpoint, server.CAFile = "https://"+address, certificate
	}
	cmd := command(o, address, certificate, key)
	output := new(outputtest.Output)
	cmd.Stdout, cmd.Stderr = output, output
	dieWithParent(cmd)
	require.NoError(t, cmd.Start())
	server.PID = cmd.Process.Pid
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), output)
		}
	})
	server.makeBucket(t, done, output)
	return server
}

// makeBucket waits until the server answers by making the bucket.
func (s *Server) makeBucket(t testing.TB, exited <-chan struct{}, output *outputtest.Output) {
	t.Helper()
	client := s.Client(t)
	var err error
	require.Eventually(t, func() bool {
		select {
		case <-exited:
			require.FailNow(t, "the S3 server ended", "%s", output)
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err = client.MakeBucket(ctx, Bucket, minio.MakeBucketOptions{Region: Region}); err == nil {
			return true
		}
		code := minio.ToErrorResponse(err).Code
		return code == minio.BucketAlreadyOwnedByYou || code == minio.BucketAlreadyExists
	}, time.Minute, 50*time.Millisecond, "the S3 server does not answer: %s", output)
}

// Client returns a client of the server that is not Berth's.
func (s *Server) Client(t testing.TB) *minio.Client {
	t.Helper()
	transport := &http.Transport{}
	if s.CAFile != "" {
		pool := x509.NewCertPool()
		certificate, err := os.ReadFile(s.CAFile)
		require.NoError(t, err)
		require.True(t, pool.AppendCertsFromPEM(certificate))
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	t.Cleanup(transport.CloseIdleConnections)
	scheme, host, _ := strings.Cut(s.Endpoint, "://")
	client, err := minio.New(host, &minio.Options{
		Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Secure: scheme == "https", Transport: transport,
		Region: Region, BucketLookup: minio.BucketLookupPath, MaxRetries: 1,
	})
	require.NoError(t, err)
	return client
}

func program(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	cache := os.Getenv("BERTH_TOOLS")
	if cache == "" {
		base, err := os.UserCacheDir()
		require.NoError(t, err)
		cache = filepath.Join(base, "berth-tools")
	}
	path := filepath.Join(cache, "bin", name)
	_, err := os.Stat(path)
	require.NoError(t, err, "%s is missing: run e2e/install.sh", name)
	return path
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// writeCertificate writes a self-signed certificate and its key under the names that MinIO looks for.
func writeCertificate(t testing.TB) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	directory := t.TempDir()
	certificate, key = filepath.Join(directory, "public.crt"), filepath.Join(directory, "private.key")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return certificate, key
}
