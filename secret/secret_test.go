package secret_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/secret"
)

func box(t testing.TB, key string) *secret.Box {
	t.Helper()
	b, err := secret.New([]byte(strings.Repeat(key, secret.MinKeyLength)))
	require.NoError(t, err)
	return b
}

func TestBox_roundTrip(t *testing.T) {
	b := box(t, "k")
	for _, plaintext := range [][]byte{{}, []byte("s3cret"), bytes.Repeat([]byte{0}, 1<<20)} {
		sealed := b.Seal("ldap password", plaintext)
		require.NotContains(t, string(sealed), "s3cret")
		opened, err := b.Open("ldap password", sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plaintext, opened))
	}
	require.NotEqual(t, b.Seal("p", []byte("x")), b.Seal("p", []byte("x")), "nonces differ")
}

func TestBox_refuses(t *testing.T) {
	b := box(t, "k")
	sealed := b.Seal("one", []byte("s3cret"))
	for name, test := range map[string]struct {
		box     *secret.Box
		purpose string
		sealed  []byte
		remedy  string
	}{
		"another purpose": {b, "two", sealed, "master key"},
		"another key":     {box(t, "x"), "one", sealed, "restore the master key"},
		"flipped bit":     {b, "one", append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1), "it was changed"},
		"truncated":       {b, "one", sealed[:5], "it was changed"},
		"only a version":  {b, "one", sealed[:1], "it was changed"},
		"empty":           {b, "one", nil, "set the secret again"},
		"newer format":    {b, "one", append([]byte{2}, sealed[1:]...), "upgrade"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test.box.Open(test.purpose, test.sealed)
			require.ErrorIs(t, err, secret.ErrOpen)
			require.ErrorContains(t, err, test.remedy)
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

func TestNew_refusesShortKey(t *testing.T) {
	_, err := secret.New([]byte("short"))
	require.ErrorContains(t, err, "at least 32")
}

func TestLoadKey_configured(t *testing.T) {
	directory := t.TempDir()
	key, err := secret.LoadKey(strings.Repeat("a", 32), directory)
	require.NoError(t, err)
	require.Len(t, key, 32)
	require.NoFileExists(t, filepath.Join(directory, secret.KeyFile))

	_, err = secret.LoadKey("short", directory)
	require.ErrorContains(t, err, "at least 32")
}

func TestLoadKey_createdOnceByManyAtOnce(t *testing.T) {
	directory := t.TempDir()
	keys := make([][]byte, 16)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			var err error
			keys[i], err = secret.LoadKey("", directory)
			if err != nil {
				t.Errorf("load: %v", err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		require.Equal(t, keys[0], key)
	}
	status, err := os.Stat(filepath.Join(directory, secret.KeyFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), status.Mode().Perm())
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
}

func TestLoadKey_refuses(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, secret.KeyFile)
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("a", 64)), 0o644))
	_, err := secret.LoadKey("", directory)
	require.ErrorContains(t, err, "chmod 600")

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = secret.LoadKey("", directory)
	require.ErrorContains(t, err, "0 bytes long")

	_, err = secret.LoadKey("", filepath.Join(directory, "missing"))
	require.ErrorContains(t, err, "create master key")
}

func FuzzBox_open(f *testing.F) {
	b := box(f, "k")
	f.Add([]byte{}, "")
	f.Add([]byte{1}, "p")
	f.Add(bytes.Repeat([]byte{1}, 64), "p")
	f.Fuzz(func(t *testing.T, sealed []byte, purpose string) {
		if _, err := b.Open(purpose, sealed); err == nil {
			t.Fatal("random bytes opened")
		}
	})
}
