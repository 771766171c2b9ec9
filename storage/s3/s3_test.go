package s3_test

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
	"github.com/berth-registry/berth/storage/storagetest"
)

// TestMain has more tests run side by side than there are processors: most of them wait for a server that does not answer.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	m.Run()
}

// servers are the S3 servers that everything is tried on.
var servers = map[string]func(testing.TB, ...s3server.Option) *s3server.Server{
	"versitygw": s3server.StartVersityGW,
	"minio":     s3server.StartMinIO,
}

func onEveryServer(t *testing.T, test func(t *testing.T, server *s3server.Server)) {
	t.Parallel()
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

func configOf(server *s3server.Server) s3.Config {
	return s3.Config{
		Endpoint: server.Endpoint, Bucket: s3server.Bucket, AccessKey: s3server.AccessKey, SecretKey: s3server.SecretKey,
		CAFile: server.CAFile, PathStyle: true, Prefix: "registry",
	}
}

func open(t testing.TB, config s3.Config) *s3.Backend {
	t.Helper()
	backend, err := s3.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	return backend
}

func TestBackend_passesTheSuite(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		storagetest.Run(t, func(t *testing.T) storage.Backend { return open(t, configOf(server)) })
	})
}
