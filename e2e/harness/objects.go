package harness

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ObjectStorage is a running S3 server.
type ObjectStorage struct {
	Endpoint, AccessKey, SecretKey string
	// Root is the directory in which each bucket is a directory.
	Root string

	t       testing.TB
	iam     string
	process *Process
}

// StartObjectStorage starts an S3 server with buckets.
func StartObjectStorage(t testing.TB, buckets ...string) *ObjectStorage {
	t.Helper()
	directory := t.TempDir()
	objects := &ObjectStorage{
		Endpoint:  fmt.Sprintf("http://127.0.0.1:%d", FreePort(t)),
		AccessKey: "harbour",
		SecretKey: "a-secret-of-the-test",
		Root:      filepath.Join(directory, "objects"),
		t:         t,
		iam:       filepath.Join(directory, "iam"),
	}
	for _, bucket := range buckets {
		require.NoError(t, os.MkdirAll(filepath.Join(objects.Root, bucket), 0o700))
	}
	require.NoError(t, os.Mkdir(objects.iam, 0o700))
	objects.Launch()
	return objects
}

// Launch starts the server, again after Stop, and waits until it answers.
func (o *ObjectStorage) Launch() {
	o.t.Helper()
	o.process = StartProcess(o.t, []string{"ROOT_ACCESS_KEY=" + o.AccessKey, "ROOT_SECRET_KEY=" + o.SecretKey}, Tool(o.t, "versitygw"),
		"--port", o.Endpoint[len("http://"):], "--health", "/health", "--iam-dir", o.iam, "--quiet", "posix", o.Root)
	require.Eventually(o.t, func() bool {
		response, err := http.Get(o.Endpoint + "/health")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, patience, 20*time.Millisecond, "the S3 server does not answer: %s", o.process.Log())
}

// Stop ends the server; what it holds stays.
func (o *ObjectStorage) Stop() { o.process.Stop() }
