package thisregistry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/caddymodules/thisregistry"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

// broken is a connection that broke.
type broken struct{}

// Read fails.
func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// TestPrepare_cachesTakeNothing has a replication to a project that is a cache of another registry.
func TestPrepare_cachesTakeNothing(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
		far, err := tx.CreateRemoteRegistry(ctx, metadata.RemoteRegistry{Name: "far", URL: "https://far.test", Kind: "docker-registry", Status: "healthy"})
		if err != nil {
			return err
		}
		_, err = tx.CreateProject(ctx, metadata.Project{Name: "cache", RegistryID: far.ID})
		return err
	})
	here := thisregistry.New(thisregistry.Options{Store: server.Store, Registry: server.Registry})(event.Actor{Name: "admin"})
	err := here.Prepare(t.Context(), "cache/app", true)
	require.Equal(t, fault.Unsupported, fault.Of(err))
	require.ErrorContains(t, err, `project "cache" is a cache of another registry`)
	require.NoError(t, here.Prepare(t.Context(), "library/app", true), "what is there stays as it is")
	require.Equal(t, fault.Invalid, fault.Of(here.Prepare(t.Context(), "app", true)))
}

// TestWriteBlob has the source break off, as an error or as an end that comes too early, and send what nobody asked for.
func TestWriteBlob(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	here := thisregistry.New(thisregistry.Options{Store: server.Store, Registry: server.Registry})(event.Actor{Name: "admin"})
	const small, large = 1000, 9 << 20
	for name, c := range map[string]struct {
		size   int
		breaks io.Reader
		// sent is how much is read in all.
		sent int64
	}{
		"small, whole":        {small, nil, small},
		"small, breaks":       {small, broken{}, small + small/2},
		"large, whole":        {large, nil, large},
		"large, breaks":       {large, broken{}, large},
		"large, ends early":   {large, bytes.NewReader(nil), large},
		"small, ends early":   {small, bytes.NewReader(nil), small + small/2},
		"nothing":             {0, nil, 0},
		"small, does not end": {small, bytes.NewReader(make([]byte, large)), small},
	} {
		t.Run(name, func(t *testing.T) {
			content := bytes.Repeat([]byte(name[:1]+t.Name()), c.size)[:c.size]
			blob := oci.Descriptor{Digest: oci.SHA256.FromBytes(content), Size: int64(len(content))}
			opened := 0
			transfer, err := here.WriteBlob(t.Context(), "library/a", blob, func(_ context.Context, offset int64) (io.ReadCloser, error) {
				opened++
				if opened > 1 || c.breaks == nil {
					return io.NopCloser(bytes.NewReader(content[offset:])), nil
				}
				part := len(content) / 2
				if c.sent == int64(len(content)) && c.size == small {
					part = len(content)
				}
				return io.NopCloser(io.MultiReader(bytes.NewReader(content[:part]), c.breaks)), nil
			})
			require.NoError(t, err)
			require.Equal(t, c.sent, transfer.Sent)
			row, err := server.Registry.Blob(t.Context(), "library/a", blob.Digest)
			require.NoError(t, err)
			stored, err := server.Registry.OpenBlob(t.Context(), "library/a", row, []registry.Range{{Length: row.Size}})
			require.NoError(t, err)
			got, err := io.ReadAll(stored)
			require.NoError(t, err)
			require.NoError(t, stored.Close())
			require.True(t, bytes.Equal(content, got))
		})
	}
	for _, size := range []int64{small, large} {
		opened := 0
		blob := oci.Descriptor{Digest: oci.SHA256.FromString("something else"), Size: size}
		_, err := here.WriteBlob(t.Context(), "library/a", blob, func(context.Context, int64) (io.ReadCloser, error) {
			opened++
			return io.NopCloser(bytes.NewReader(make([]byte, size))), nil
		})
		require.True(t, oci.HasCode(err, oci.CodeDigestInvalid), err)
		require.Equal(t, 1, opened, "another try would bring the same")
		has, err := here.HasBlob(t.Context(), "library/a", blob.Digest)
		require.NoError(t, err)
		require.False(t, has)
	}
}
