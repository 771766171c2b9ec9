// Package postgrestest runs a throw-away PostgreSQL server for tests.
package postgrestest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
)

// databases counts the databases of the server, for their names.
var databases struct {
	sync.Mutex
	count int
}

// instance is a running server.
type instance struct {
	// address is that of its own database.
	address *url.URL
	// lifeline is the other end of the keeper's standard input. It stays referenced, or else it would be collected and closed.
	lifeline io.WriteCloser
}

// shared is the one server of the test binary.
var shared = sync.OnceValues(func() (*instance, error) { return start(os.Getpid()) })

// Start returns the URL of a fresh, empty database, which is dropped when the test ends. All tests of a binary share one
// server on a free port of the loopback interface; it ends with the binary, whatever ends that. A machine without PostgreSQL
// fails the test.
func Start(t testing.TB) string {
	t.Helper()
	return create(t, "")
}

// Migrated is Start with a database that has the newest schema, which is copied: migrating takes far longer.
func Migrated(t testing.TB) string {
	t.Helper()
	from, err := template()
	require.NoError(t, err, "make a migrated database")
	return create(t, " TEMPLATE "+from)
}

// Open returns a store over a database of its own, as of Migrated. It is closed when the test ends.
func Open(t testing.TB) *metadata.Store {
	t.Helper()
	store, err := postgres.Open(postgres.Options{URL: Migrated(t)}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// template is the name of a database that was migrated, and to which nobody connects any more.
var template = sync.OnceValues(func() (name string, err error) {
	server, err := shared()
	if err != nil {
		return "", err
	}
	name = "migrated"
	if err := execute(server.address, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	store, err := postgres.Open(postgres.Options{URL: server.url(name)}, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	return name, errors.Join(store.Migrate(context.Background()), store.Close())
})

// create makes a database, and returns its URL.
func create(t testing.TB, options string) string {
	t.Helper()
	server, err := shared()
	require.NoError(t, err, "start PostgreSQL")
	databases.Lock()
	databases.count++
	name := fmt.Sprintf("test%d", databases.count)
	databases.Unlock()

	require.NoError(t, execute(server.address, "CREATE DATABASE "+name+options))
	t.Cleanup(func() { require.NoError(t, execute(server.address, "DROP DATABASE "+name+" WITH (FORCE)")) })
	return server.url(name)
}

// url is that of a database of the server.
func (i *instance) url(database string) string {
	address := *i.address
	address.Path = "/" + database
	return address.String()
}

// execute runs a statement on the server's own database.
func execute(server *url.URL, text string) error {
	db, err := sql.Open("pgx", server.String())
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), text); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}

// The shell keeps the server for as long as its standard input is open: the kernel closes it when the test binary ends, also
// when that is killed.
const keeper = `
"$1" -D "$2" -p "$3" -h 127.0.0.1 -c unix_socket_directories= -c fsync=off -c full_page_writes=off -c synchronous_commit=off \
	-c max_connections=200 -c shared_buffers=32MB -c deadlock_timeout=100ms >"$2/log" 2>&1 </dev/null &
server=$!
read -r line
kill -INT $server
wait $server
cd / && rm -rf "$4"
`

// start makes a cluster and runs a server on it.
func start(owner int) (*instance, error) {
	programs, err := programs()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", fmt.Sprintf("berth-postgres-%d-", owner))
	if err != nil {
		return nil, err
	}
	attributes, err := unprivileged(folder)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	password := rand.Text()
	passwordFile := filepath.Join(folder, "password")
	if err := os.WriteFile(passwordFile, []byte(password), 0o644); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	// The server's own order of text is that of a language, so that a column without COLLATE "C" is found out.
	cluster := filepath.Join(folder, "cluster")
	initialize := exec.Command(filepath.Join(programs, "initdb"), "-D", cluster, "-U", "berth", "-A", "scram-sha-256", "--pwfile", passwordFile,
		"--encoding", "UTF8", "--locale", "C", "--locale-provider", "icu", "--icu-locale", "en", "--no-sync")
	initialize.Dir, initialize.SysProcAttr = folder, attributes
	if output, err := initialize.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, output), os.RemoveAll(folder))
	}
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	server := exec.Command("/bin/sh", "-c", keeper, "keeper", filepath.Join(programs, "postgres"), cluster, strconv.Itoa(port), folder)
	server.Dir, server.SysProcAttr = folder, attributes
	lifeline, err := server.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err := server.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	address := &url.URL{Scheme: "postgres", User: url.UserPassword("berth", password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable"}
	if err := answers(address); err != nil {
		log, _ := os.ReadFile(filepath.Join(cluster, "log"))
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	return &instance{address: address, lifeline: lifeline}, nil
}

// programs returns the folder of initdb and postgres: that of the PATH, or of the newest version that Debian has installed.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed: neither the PATH nor /usr/lib/postgresql has initdb (on Debian: apt-get install postgresql)")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// unprivileged lets root run the server as nobody, since PostgreSQL refuses to run as root, and gives nobody the folder.
func unprivileged(folder string) (*syscall.SysProcAttr, error) {
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return attributes, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, os.Chown(folder, int(uid), int(gid))
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// answers waits until the server does.
func answers(address *url.URL) error {
	db, err := sql.Open("pgx", address.String())
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
	}
}

// The driver registers itself under the name "pgx".
var _ = stdlib.GetDefaultDriver
