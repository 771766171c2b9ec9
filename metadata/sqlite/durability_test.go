package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/sqlite"
)

// childPath tells a test binary that another one has started it, and which database to write to.
const childPath = "BERTH_TEST_SQLITE_PATH"

// child starts this test binary again to run one test of it as a process of its own.
func child(t *testing.T, test, path string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(program, "-test.run", "^"+test+"$", "-test.count", "1")
	command.Env = append(os.Environ(), childPath+"="+path)
	command.Stderr = os.Stderr
	return command
}

// TestKilled_keepsWhatWasAcknowledged kills a process in the middle of its writes, several times over.
func TestKilled_keepsWhatWasAcknowledged(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		writeForever(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "berth.db")
	acknowledged := map[string]bool{}
	for range 5 {
		command := child(t, t.Name(), path)
		output, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		lines := bufio.NewScanner(output)
		for seen := 0; lines.Scan(); seen++ {
			if name, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
				acknowledged[name] = true
			}
			if seen == 100 {
				require.NoError(t, command.Process.Kill())
			}
		}
		require.Error(t, command.Wait())

		store, err := sqlite.Open(t.Context(), path, metadatatest.Logger(t))
		require.NoError(t, err, "the kernel lets go of the lock")
		for name := range acknowledged {
			_, err := store.Setting(t.Context(), name+".first")
			require.NoError(t, err, name)
			_, err = store.Setting(t.Context(), name+".second")
			require.NoError(t, err, name)
		}
		require.NoError(t, store.Close())
	}
	require.Greater(t, len(acknowledged), 500)
}

// writeForever acknowledges transactions on standard output until it is killed.
func writeForever(t *testing.T, path string) {
	store, err := sqlite.Open(t.Context(), path, metadatatest.Logger(t))
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	var writers, output sync.WaitGroup
	lines := make(chan string)
	output.Go(func() {
		for line := range lines {
			fmt.Println("acknowledged", line)
		}
	})
	for i := range 8 {
		writers.Go(func() {
			for j := 0; ; j++ {
				name := fmt.Sprintf("%d.%d.%d", os.Getpid(), i, j)
				err := store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
					if _, err := tx.PutSettingIfAbsent(ctx, name+".first", ""); err != nil {
						return err
					}
					_, err := tx.PutSettingIfAbsent(ctx, name+".second", "")
					return err
				})
				if err != nil {
					panic(err)
				}
				lines <- name
			}
		})
	}
	writers.Wait()
	output.Wait()
}

// TestOpen_secondProcess is refused while another process, or another store of this one, has the database open.
func TestOpen_secondProcess(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		store, err := sqlite.Open(t.Context(), path, metadatatest.Logger(t))
		require.Nil(t, store)
		require.ErrorIs(t, err, metadata.ErrLocked)
		require.ErrorContains(t, err, "use PostgreSQL for several")
		return
	}
	path := filepath.Join(t.TempDir(), "berth.db")
	store, err := sqlite.Open(t.Context(), path, metadatatest.Logger(t))
	require.NoError(t, err)
	output, err := child(t, t.Name(), path).Output()
	require.NoError(t, err, string(output))
	_, err = sqlite.Open(t.Context(), path, metadatatest.Logger(t))
	require.ErrorIs(t, err, metadata.ErrLocked)

	require.NoError(t, store.Close())
	store, err = sqlite.Open(t.Context(), path, metadatatest.Logger(t))
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.ErrorIs(t, store.Tx(t.Context(), func(context.Context, *metadata.Tx) error { return nil }), metadata.ErrUnavailable)
	require.NoError(t, store.Close(), "closing twice")
}

// TestOpen_settings looks at what the connections of a store are set to.
func TestOpen_settings(t *testing.T) {
	database := newDatabase(t)
	metadatatest.OpenMigrated(t, database)
	var mode string
	require.NoError(t, database.DB.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode))
	require.Equal(t, "wal", mode)
}
