package api_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

func TestProjects_cachesOfOtherRegistries(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	addUsers(t, server, "alice")
	var far metadata.RemoteRegistry
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		far, err = tx.CreateRemoteRegistry(ctx, metadata.RemoteRegistry{Name: "far", URL: "https://far.test", Kind: "docker-registry", Status: "healthy"})
		return err
	})
	admin, alice := server.Admin(), server.As("alice", apitest.AdminPassword)
	wanted := object{"project_name": "cache", "registry_id": far.ID}
	requireRefusal(t, alice.Do(t, http.MethodPost, "/projects", wanted), 403, "FORBIDDEN")
	admin.Must(t, 201, http.MethodPost, "/projects", wanted)
	requireRefusal(t, admin.Do(t, http.MethodPut, "/projects/cache", object{"registry_id": far.ID + 1}), 400, "BAD_REQUEST")
	requireRefusal(t, admin.Do(t, http.MethodDelete, "/registries/1", nil), 412, "PRECONDITION")

	// By which repositories it is a cache of is checked with what the other key says.
	const all = "/projects/cache/metadatas/"
	requireRefusal(t, admin.Do(t, http.MethodPost, all, object{"proxy_cache_filter_pattern": "[a-"}), 400, "BAD_REQUEST")
	requireRefusal(t, admin.Do(t, http.MethodPost, all, object{"proxy_cache_filter_kind": "glob"}), 400, "BAD_REQUEST")
	admin.Must(t, 200, http.MethodPost, all, object{"proxy_cache_filter_kind": "regex"})
	admin.Must(t, 200, http.MethodPost, all, object{"proxy_cache_filter_pattern": "library/[a-z]*"})
	requireRefusal(t, admin.Do(t, http.MethodPut, all+"proxy_cache_filter_pattern", object{"proxy_cache_filter_pattern": "a)|(b"}), 400, "BAD_REQUEST")
	admin.Must(t, 200, http.MethodPut, "/projects/cache", object{"metadata": object{"proxy_cache_filter_kind": "regex", "proxy_cache_filter_pattern": "[^{]+"}})
	requireRefusal(t, admin.Do(t, http.MethodPut, "/projects/cache", object{"metadata": object{"proxy_cache_filter_kind": "doublestar", "proxy_cache_filter_pattern": "{"}}), 400, "BAD_REQUEST")
	admin.Must(t, 200, http.MethodPut, "/projects/cache", object{"metadata": object{"proxy_cache_filter_pattern": "a.*|{b"}})
	requireRefusal(t, admin.Do(t, http.MethodDelete, all+"proxy_cache_filter_kind", nil), 400, "BAD_REQUEST")
	admin.Must(t, 200, http.MethodDelete, all+"proxy_cache_filter_pattern", nil)
	admin.Must(t, 200, http.MethodDelete, all+"proxy_cache_filter_kind", nil)

	// What the cache keeps is an artifact like any other, but that people put none there.
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	digest := oci.SHA256.FromString(manifest)
	require.NoError(t, server.Registry.KeepManifest(t.Context(), event.Actor{Name: "proxy cache"}, "cache/app", "v1", metadata.Manifest{
		Digest: digest, MediaType: oci.MediaTypeImageIndex, Payload: []byte(manifest), Size: int64(len(manifest)),
	}))
	artifact := "/projects/cache/repositories/app/artifacts/" + digest.String()
	admin.Must(t, 200, http.MethodGet, artifact, nil)
	requireRefusal(t, admin.Do(t, http.MethodPost, artifact+"/tags", object{"name": "v2"}), 405, "METHOD_NOT_ALLOWED")
	requireRefusal(t, admin.Do(t, http.MethodPost, "/projects/cache/repositories/other/artifacts?from=cache/app@"+digest.String(), nil), 405, "METHOD_NOT_ALLOWED")
	admin.Must(t, 200, http.MethodDelete, artifact, nil)
}
