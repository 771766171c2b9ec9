package registry_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

func image(t *testing.T, r *registry.Registry, repository oci.Repository, config string, tags ...string) oci.Digest {
	t.Helper()
	put(t, r, repository, config)
	return manifest(t, r, repository, config, tags...)
}

// manifest pushes that of an image whose config is there.
func manifest(t *testing.T, r *registry.Registry, repository oci.Repository, config string, tags ...string) oci.Digest {
	t.Helper()
	blob := oci.SHA256.FromString(config)
	payload := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},"layers":[]}`, blob, len(config))
	pushed, err := r.PutManifest(ctx, alice, registry.Push{
		Repository: repository, Reference: oci.Reference{Digest: oci.SHA256.FromString(payload)}, Tags: tags,
		ContentType: oci.MediaTypeImageManifest, Payload: []byte(payload),
	})
	require.NoError(t, err)
	return pushed.Digest
}

func TestArtifacts_configsAreReadAfterThePush(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	digest := image(t, r, "library/app", `{"os":"linux"}`)
	artifact, err := r.Artifact(ctx, "library/app", oci.Reference{Digest: digest}, registry.With{})
	require.NoError(t, err)
	require.JSONEq(t, `{"os":"linux","author":""}`, string(artifact.Facts.Attributes), "at once, for who looks")
	require.Eventually(t, func() bool {
		row, err := h.store.Artifact(ctx, "library/app", oci.Reference{Digest: digest})
		require.NoError(t, err)
		return string(row.Facts.Attributes) == `{"author":"","os":"linux"}`
	}, time.Minute, 10*time.Millisecond, "and for good")
}

func TestArtifacts_storageDoesNotAnswer(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	put(t, r, "library/app", `{"os":"linux"}`)
	require.NoError(t, os.RemoveAll(filepath.Join(h.root, "storage")))
	digest := manifest(t, r, "library/app", `{"os":"linux"}`)
	artifact, err := r.Artifact(ctx, "library/app", oci.Reference{Digest: digest}, registry.With{})
	require.NoError(t, err)
	require.Equal(t, "IMAGE", artifact.Facts.Kind, "what the manifest says is there all the same")
	require.Empty(t, artifact.Facts.Attributes)
}

func TestDeleteRepository_whilePeoplePush(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	for i := range 120 {
		image(t, r, "library/app", fmt.Sprint(i), fmt.Sprintf("t%d", i))
	}
	stop, pushed := make(chan struct{}), make(chan oci.Digest, 1000)
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			config := fmt.Sprint("new ", i)
			_, err := r.PutBlob(ctx, "library/app", oci.SHA256.FromString(config), strings.NewReader(config))
			if err != nil {
				t.Error(err)
				return
			}
			payload := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"%s","size":%d},"layers":[]}`, oci.SHA256.FromString(config), len(config))
			put, err := r.PutManifest(ctx, alice, registry.Push{
				Repository: "library/app", Reference: oci.Reference{Tag: "new"}, ContentType: oci.MediaTypeImageManifest, Payload: []byte(payload),
			})
			if err != nil && !oci.HasCode(err, oci.CodeManifestBlobUnknown) { // the blob went with the repository: push it again
				t.Error(err)
				return
			}
			if err == nil && i < cap(pushed) {
				pushed <- put.Digest
			}
		}
	})
	require.NoError(t, r.DeleteRepository(ctx, alice, "library/app"))
	close(stop)
	wait.Wait()
	// What is there is whole: every manifest has its config, and none of the old ones is left.
	require.NoError(t, h.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.Repository(ctx, "library/app")
		if err != nil {
			return nil //nolint:nilerr // it is gone, and so is all that was in it
		}
		rows, _, err := tx.ListArtifacts(ctx, metadata.Collection{RepositoryID: owner.ID, Whole: true}, metadata.Query{Limit: -1})
		for _, row := range rows {
			references, err := tx.References(ctx, row.ID)
			require.NoError(t, err)
			_, err = tx.Blob(ctx, "library/app", references[0].Descriptor.Digest)
			require.NoError(t, err)
			require.Equal(t, "UNKNOWN", row.Facts.Kind, "an old one")
		}
		return err
	}))
}

func TestProtected_tagsStay(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	require.NoError(t, h.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.Project(ctx, "library")
		if err != nil {
			return err
		}
		_, err = tx.CreateImmutableRule(ctx, metadata.ImmutableRule{
			ProjectID: project.ID, Repositories: []metadata.Selector{{Pattern: "**"}}, Tags: []metadata.Selector{{Pattern: "v*"}},
		})
		return err
	}))
	first := image(t, r, "library/app", "1", "v1", "latest")
	require.Equal(t, first, image(t, r, "library/app", "1", "v1"), "the same again changes nothing")
	refused := func(err error) {
		t.Helper()
		require.True(t, oci.HasCode(err, oci.CodePrecondition), err)
	}
	second := put(t, r, "library/app", "2")
	payload := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"%s","size":1},"layers":[]}`, second)
	_, err := r.PutManifest(ctx, alice, registry.Push{
		Repository: "library/app", Reference: oci.Reference{Tag: "v1"}, ContentType: oci.MediaTypeImageManifest, Payload: []byte(payload),
	})
	refused(err)
	refused(r.DeleteManifest(ctx, alice, "library/app", oci.Reference{Tag: "v1"}))
	refused(r.DeleteManifest(ctx, alice, "library/app", oci.Reference{Digest: first}))
	refused(r.DeleteTag(ctx, alice, "library/app", oci.Reference{Digest: first}, "v1"))
	refused(r.DeleteArtifact(ctx, alice, "library/app", oci.Reference{Tag: "latest"}))
	refused(r.DeleteRepository(ctx, alice, "library/app"))
	owner, err := r.Repository(ctx, "library/app")
	require.NoError(t, err)
	protected, err := r.Protected(ctx, owner, []string{"v1", "latest"})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"v1": true}, protected)
	require.NoError(t, r.DeleteTag(ctx, alice, "library/app", oci.Reference{Digest: first}, "latest"))
	require.Equal(t, first, mustResolve(t, r, "v1"))
}

func mustResolve(t *testing.T, r *registry.Registry, tag string) oci.Digest {
	t.Helper()
	m, err := r.Manifest(ctx, "library/app", oci.Reference{Tag: tag})
	require.NoError(t, err)
	return m.Digest
}

func TestDeleteArtifact_cancelled(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	image(t, r, "library/app", "1", "v1")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, r.DeleteArtifact(cancelled, event.Actor{}, "library/app", oci.Reference{Tag: "v1"}), context.Canceled)
	require.ErrorIs(t, r.DeleteRepository(cancelled, event.Actor{}, "library/app"), context.Canceled)
	mustResolve(t, r, "v1")
}
