package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/jobs/redis"
	"github.com/berth-registry/berth/jobs/redis/redistest"
	"github.com/berth-registry/berth/outputtest"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, options redis.Options) *redis.Queue {
	t.Helper()
	q, err := redis.Open(options, quiet)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	return q
}

// listen listens until the test ends, and returns what hears the ids.
func listen(t *testing.T, q *redis.Queue, n int) <-chan int64 {
	t.Helper()
	heard := make(chan int64, 1000)
	ctx, stop := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { q.Listen(ctx, n, func(_ context.Context, id int64) { heard <- id }, func(string) {}) })
	t.Cleanup(func() {
		stop()
		listening.Wait()
	})
	return heard
}

// requireRoundTrip has what is announced heard.
func requireRoundTrip(t *testing.T, options redis.Options) {
	t.Helper()
	t.Run("round trip", func(t *testing.T) { // no longer than that
		q := open(t, options)
		require.NoError(t, q.Ping(t.Context()))
		require.True(t, q.Works())
		requireHeard(t, q, listen(t, q, 4))
	})
}

func requireHeard(t *testing.T, q *redis.Queue, heard <-chan int64) {
	t.Helper()
	wakeups := []jobs.Wakeup{{TaskID: 1}, {TaskID: 2, Priority: jobs.High}, {TaskID: 3, Priority: jobs.Low}, {TaskID: 4, At: time.Now().Add(time.Second)}}
	require.NoError(t, q.Announce(t.Context(), wakeups))
	var ids []int64
	for range wakeups {
		select {
		case id := <-heard:
			ids = append(ids, id)
		case <-time.After(time.Minute):
			require.Fail(t, "not heard", "%v", ids)
		}
	}
	require.ElementsMatch(t, []int64{1, 2, 3, 4}, ids)
}

func TestQueue_plain(t *testing.T) {
	t.Parallel() // it waits for what is due later
	server := redistest.Start(t)
	requireRoundTrip(t, redis.Options{URL: "redis://" + server.Address})
	requireRoundTrip(t, redis.Options{URL: "redis://" + server.Address + "/5", Prefix: "other"})
	require.Contains(t, server.Do("-n", "5", "keys", "*"), "asynq:{other-", "in the database that the url names")
}

func TestQueue_password(t *testing.T) {
	t.Parallel() // it waits for what is due later
	server := redistest.Start(t, "--requirepass", "p@ss:word")
	requireRoundTrip(t, redis.Options{URL: "redis://:p%40ss%3Aword@" + server.Address})
	requireRoundTrip(t, redis.Options{URL: "redis://default:p%40ss%3Aword@" + server.Address + "/0"})
	refused := open(t, redis.Options{URL: "redis://:guess@" + server.Address})
	err := refused.Ping(t.Context())
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "guess")
	require.False(t, refused.Works())
}

func TestQueue_ownAuthority(t *testing.T) {
	t.Parallel() // it waits for what is due later
	directory := t.TempDir()
	certificate, key := selfSigned(t, directory)
	server := redistest.Start(t, "--tls-port", "", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	requireRoundTrip(t, redis.Options{URL: "rediss://" + server.Address, CAFile: certificate})
	require.ErrorContains(t, open(t, redis.Options{URL: "rediss://" + server.Address}).Ping(t.Context()), "unknown authority")
	require.Error(t, open(t, redis.Options{URL: "redis://" + server.Address}).Ping(t.Context()), "without TLS")
}

// selfSigned writes a certificate of 127.0.0.1 and its key.
func selfSigned(t *testing.T, directory string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	certificate, key = filepath.Join(directory, "certificate.pem"), filepath.Join(directory, "key.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	return certificate, key
}

// TestQueue_sentinel kills the master, and what is announced after it is heard from the replica that became one.
func TestQueue_sentinel(t *testing.T) {
	t.Parallel() // it waits for the sentinel
	const password = "hush"
	master := redistest.Start(t, "--requirepass", password, "--masterauth", password)
	host, port, err := net.SplitHostPort(master.Address)
	require.NoError(t, err)
	replica := redistest.Start(t, "--requirepass", password, "--masterauth", password, "--replicaof", host+" "+port)
	sentinel := redistest.StartSentinel(t, master, password)
	require.Eventually(t, func() bool {
		return strings.Contains(sentinel.Do("sentinel", "replicas", "berth"), replica.Address)
	}, time.Minute, 100*time.Millisecond)
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Do("--no-auth-warning", "-a", password, "info", "replication"), "master_link_status:up")
	}, time.Minute, 100*time.Millisecond)
	q := open(t, redis.Options{URL: "redis+sentinel://:" + password + "@" + sentinel.Address + "/berth"})
	heard := listen(t, q, 4)
	requireHeard(t, q, heard)
	master.Kill()
	_, port, err = net.SplitHostPort(replica.Address)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return strings.HasSuffix(sentinel.Do("sentinel", "get-master-addr-by-name", "berth"), port) && q.Ping(t.Context()) == nil && q.Works()
	}, time.Minute, 100*time.Millisecond)
	requireHeard(t, q, heard)
}

func TestQueue_cluster(t *testing.T) {
	t.Parallel() // it waits for what is due later
	addresses := redistest.StartCluster(t)
	requireRoundTrip(t, redis.Options{URL: "redis+cluster://" + strings.Join(addresses, ",")})
}

func TestQueue_comesUpLater(t *testing.T) {
	t.Parallel() // it waits for connections to be tried again
	server := redistest.Prepare(t)
	log := &outputtest.Output{}
	q, err := redis.Open(redis.Options{URL: "redis://:hush@" + server.Address}, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	require.False(t, q.Works())
	require.Error(t, q.Ping(t.Context()))
	require.Error(t, q.Announce(t.Context(), []jobs.Wakeup{{TaskID: 1}}))
	require.Contains(t, log.String(), "Redis does not answer: tasks are found in the database")
	require.NotContains(t, log.String(), "hush")
	log2 := &outputtest.Output{}
	q2, err := redis.Open(redis.Options{URL: "redis://" + server.Address}, slog.New(slog.NewTextHandler(log2, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q2.Close()) })
	heard := listen(t, q2, 1)
	server.Start()
	require.Eventually(t, q2.Works, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(log2.String(), "Redis answers again") }, time.Minute, 10*time.Millisecond)
	requireHeard(t, q2, heard)
	server.Kill()
	require.Eventually(t, func() bool { return !q2.Works() }, time.Minute, 10*time.Millisecond)
	server.Start()
	require.Eventually(t, q2.Works, time.Minute, 10*time.Millisecond)
	requireHeard(t, q2, heard)
}

func TestOptions_validate(t *testing.T) {
	directory := t.TempDir()
	for _, url := range []string{
		"redis://localhost", "redis://localhost:1/3", "rediss://user:pa%2Fss@[::1]:6380/0", "redis+sentinel://a,b:1,c/master/2?sentinel_password=x",
		"rediss+cluster://u:p@a:1,b:2,[::1]",
	} {
		require.NoError(t, redis.Options{URL: url}.Validate(), url)
	}
	for _, url := range []string{
		"", "localhost", "http://localhost", "redis:localhost", "redis://", "redis://a,b", "redis://hush@a:b", "redis://a/x", "redis://a/1/2", "redis://a/-1",
		"redis://a?tls=on", "redis+sentinel://a", "redis+sentinel://a/m/x", "redis+cluster://a/1", "redis://:hush%zz@a", "redis://:hush@a b", "redis://::1", "redis://a:99999",
		"redis+unix://a",
	} {
		err := redis.Options{URL: url}.Validate()
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "hush")
	}
	require.ErrorContains(t, redis.Options{URL: "redis://a", CAFile: "x"}.Validate(), "rediss")
	require.ErrorContains(t, redis.Options{URL: "rediss://a", CAFile: filepath.Join(directory, "none")}.Validate(), "no such file")
	empty := filepath.Join(directory, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	require.ErrorContains(t, redis.Options{URL: "rediss://a", CAFile: empty}.Validate(), "no certificate")
	require.ErrorContains(t, redis.Options{URL: "redis://a", Prefix: "a{b"}.Validate(), "prefix")
}

func FuzzOptions(f *testing.F) {
	f.Add("redis://:secret-word@localhost:6379/1")
	f.Add("redis+sentinel://a,b/master?sentinel_password=secret-word")
	f.Add("rediss+cluster://u:secret-word@[::1]:1,b")
	f.Fuzz(func(t *testing.T, url string) {
		if err := (redis.Options{URL: url}).Validate(); err != nil {
			require.NotContains(t, err.Error(), "secret-word")
		}
	})
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == gatewayArgument {
		gateway()
		return
	}
	goleak.VerifyTestMain(m)
}
