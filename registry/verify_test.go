package registry_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

func TestVerifying_bothDirections(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	verify := func(p registry.VerificationParameters) string { return h.work(r, registry.VerificationKind, p) }
	object := func(content string) string {
		t.Helper()
		blob, err := h.store.BlobByDigest(ctx, oci.SHA256.FromString(content))
		require.NoError(t, err)
		return filepath.Join(h.root, "storage", "blobs", blob.StorageKey)
	}
	contents := []string{"fine", "lost", "short one", "wrong one"}
	for _, content := range contents {
		artifact(t, r, "library/a", content[:4], content)
	}
	require.Contains(t, verify(registry.VerificationParameters{Digests: true}), "compared 4 blobs of 26 B: 0 missing, 0 wrong; 0 unknown objects of 0 B; 0 repaired")

	require.NoError(t, os.Remove(object("lost")))
	require.NoError(t, os.WriteFile(object("short one"), []byte("short"), 0o600))
	require.NoError(t, os.WriteFile(object("wrong one"), []byte("WRONG ONE"), 0o600))
	stray := filepath.Join(filepath.Dir(object("fine")), filepath.Base(object("fine"))[:20]+"ZZZZ"+filepath.Base(object("fine"))[24:])
	require.NoError(t, os.WriteFile(stray, []byte("stray"), 0o600))

	said := verify(registry.VerificationParameters{})
	require.Contains(t, said, "compared 4 blobs of 26 B: 1 missing, 1 wrong; 1 unknown objects of 5 B; 0 repaired", "sizes are compared without reading")
	require.Contains(t, said, "so young that a push may name it yet")
	said = verify(registry.VerificationParameters{Digests: true})
	require.Contains(t, said, "1 missing, 2 wrong")
	require.Contains(t, said, "blob "+oci.SHA256.FromString("lost").String())
	require.Contains(t, said, "library/a@")

	h.clock.advance(48 * time.Hour)
	require.Contains(t, verify(registry.VerificationParameters{Digests: true, Repair: true}), "1 missing, 2 wrong; 1 unknown objects of 5 B; 4 repaired")
	for _, content := range contents[1:] {
		_, err := r.Blob(ctx, "library/a", oci.SHA256.FromString(content))
		require.True(t, oci.HasCode(err, oci.CodeBlobUnknown), "clients are asked for it again")
		artifact(t, r, "library/a", content[:4], content)
	}
	require.Contains(t, verify(registry.VerificationParameters{Digests: true}), "compared 4 blobs of 26 B: 0 missing, 0 wrong; 0 unknown objects of 0 B")
	h.clock.advance(time.Hour)
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 4, h.files())
}
