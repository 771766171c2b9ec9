package harness

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
)

// Stack is what gateways stand on: where bytes and rows are kept.
type Stack struct {
	// Name says what it is made of.
	Name string
	// Block is the contents of the berth block in the Caddyfile.
	Block string
	// Environ is what the process needs in its environment.
	Environ []string
	// Directory is the data directory; gateways that share a database and a bucket share it as well, for the secret key in it.
	Directory string
	// Grace is how long a stopping gateway waits for requests; 0 means ten seconds.
	Grace time.Duration
	// Protocols are those of the site: both, unless a test needs to choose.
	Protocols string
	// S3 is the object storage, nil on a directory.
	S3 *ObjectStorage

	storage   string
	other     string
	authority *Authority
}

// Directory is a stack for one gateway: a directory with files and SQLite.
func Directory(t testing.TB) *Stack {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "data")
	stack := &Stack{
		Name:      "directory and sqlite",
		Directory: directory,
		Protocols: "h1",
		storage:   "storage filesystem",
		other:     "storage filesystem " + filepath.Join(t.TempDir(), "elsewhere"),
		authority: NewAuthority(t),
	}
	stack.Block = stack.block("sqlite", stack.storage)
	return stack
}

// Shared is a stack for any number of gateways: an S3 server and PostgreSQL.
func Shared(t testing.TB) *Stack {
	t.Helper()
	objects := StartObjectStorage(t, "registry", "elsewhere")
	stack := &Stack{
		Name:      "s3 and postgres",
		Directory: filepath.Join(t.TempDir(), "data"),
		Protocols: "h1 h2",
		Environ:   []string{"BERTH_DATABASE_URL=" + postgrestest.Start(t), "E2E_S3_SECRET=" + objects.SecretKey},
		S3:        objects,
		storage:   objects.block("registry", ""),
		other:     objects.block("elsewhere", ""),
		authority: NewAuthority(t),
	}
	stack.Block = stack.block("postgres {env.BERTH_DATABASE_URL}", stack.storage)
	return stack
}

// OtherStorage is the stack's block with another directory or bucket.
func (s *Stack) OtherStorage() string { return strings.Replace(s.Block, s.storage, s.other, 1) }

// OtherSettings is the stack's block with the same storage, in other words.
func (s *Stack) OtherSettings() string {
	if s.S3 == nil {
		return s.BlobsAt(filepath.Join(s.Directory, "storage"))
	}
	return strings.Replace(s.Block, s.storage, s.S3.block("registry", "part_size 6MiB"), 1)
}

// Redirecting is the stack's block with redirects to presigned URLs.
func (s *Stack) Redirecting() string {
	return strings.Replace(s.Block, s.storage, s.S3.block("registry", "redirect on"), 1)
}

// BlobsAt is the block of a directory's stack with the blobs in another directory.
func (s *Stack) BlobsAt(directory string) string {
	return strings.Replace(s.Block, s.storage, "storage filesystem "+directory, 1)
}

func (s *Stack) block(database, storage string) string {
	return fmt.Sprintf("data_dir %s\ndatabase %s\n%s", s.Directory, database, storage)
}

func (s *Stack) grace() time.Duration {
	if s.Grace == 0 {
		return 10 * time.Second
	}
	return s.Grace
}

func (o *ObjectStorage) block(bucket, more string) string {
	return fmt.Sprintf(`storage s3 {
	endpoint %s
	bucket %s
	region us-east-1
	access_key %s
	secret_key {env.E2E_S3_SECRET}
	%s
}`, o.Endpoint, bucket, o.AccessKey, more)
}
