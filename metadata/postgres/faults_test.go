package postgres_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
)

func open(t *testing.T, options postgres.Options) *metadata.Store {
	t.Helper()
	store, err := postgres.Open(options, metadatatest.Logger(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func nothing(context.Context, *metadata.Tx) error { return nil }

// TestMigrate_twoGateways starts several gateways at once on an empty database.
func TestMigrate_twoGateways(t *testing.T) {
	address := postgrestest.Start(t)
	var group errgroup.Group
	for range 3 {
		store := open(t, postgres.Options{URL: address})
		group.Go(func() error { return store.Migrate(t.Context()) })
	}
	require.NoError(t, group.Wait())
}

func TestOpen_serverDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	store := open(t, postgres.Options{URL: "postgres://u:secret-word@" + listener.Addr().String() + "/db?sslmode=disable"})
	for _, err := range []error{store.Ping(t.Context()), store.Migrate(t.Context()), store.Tx(t.Context(), nothing)} {
		require.ErrorIs(t, err, metadata.ErrUnavailable)
		require.NotContains(t, err.Error(), "secret-word")
	}
	_, err = store.Project(t.Context(), "library")
	require.ErrorIs(t, err, metadata.ErrUnavailable)
}

func TestOpen_wrongPassword(t *testing.T) {
	address, err := url.Parse(postgrestest.Start(t))
	require.NoError(t, err)
	address.User = url.UserPassword("berth", "secret-word")
	err = open(t, postgres.Options{URL: address.String()}).Ping(t.Context())
	require.ErrorIs(t, err, metadata.ErrUnavailable)
	require.NotContains(t, err.Error(), "secret-word")
}

// TestTx_connectionCut cuts the way to the server in the middle of a transaction, and mends it.
func TestTx_connectionCut(t *testing.T) {
	address, err := url.Parse(postgrestest.Start(t))
	require.NoError(t, err)
	way := newWay(t, address.Host)
	address.Host = way.Addr().String()
	store := open(t, postgres.Options{URL: address.String()})
	require.NoError(t, store.Migrate(t.Context()))
	put := func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.PutSettingIfAbsent(ctx, "k", "")
		return err
	}
	err = store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		if err := put(ctx, tx); err != nil {
			return err
		}
		way.cut()
		return put(ctx, tx)
	})
	require.ErrorIs(t, err, metadata.ErrUnavailable)
	require.NoError(t, store.Tx(t.Context(), put))
}

func TestTx_statementTimeout(t *testing.T) {
	address := postgrestest.Start(t)
	store := open(t, postgres.Options{URL: address, StatementTimeout: 50 * time.Millisecond})
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.CreateProject(ctx, metadata.Project{Name: "p"})
		if err != nil {
			return err
		}
		_, err = tx.EnsureRepository(ctx, project.ID, "p/x")
		return err
	}))
	lock := func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.LockRepository(ctx, "p/x")
		return err
	}
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		if err := lock(ctx, tx); err != nil {
			return err
		}
		require.ErrorIs(t, store.Tx(t.Context(), lock), metadata.ErrUnavailable)
		return nil
	}))
}

// way is a listener whose connections are passed on, until they are cut.
type way struct {
	net.Listener
	mu   sync.Mutex
	open []net.Conn
}

func newWay(t *testing.T, to string) *way {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &way{Listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, from, server)
			w.mu.Unlock()
			running.Go(func() { _, _ = io.Copy(server, from); _ = server.Close() })
			running.Go(func() { _, _ = io.Copy(from, server); _ = from.Close() })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		w.cut()
		running.Wait()
	})
	return w
}

func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, connection := range w.open {
		_ = connection.Close()
	}
	w.open = nil
}
