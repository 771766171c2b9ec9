// Package metadatatest is the suite that every engine of package metadata passes.
package metadatatest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// Database is one database, empty but for a schema that it may have.
type Database struct {
	// Open opens it; on SQLite one store at a time.
	Open func(logger *slog.Logger) (*metadata.Store, error)
	// DB reaches it without a store.
	DB *sql.DB
}

// Engine makes databases, which end with their test.
type Engine func(t testing.TB) Database

// Run runs the suite, but for [RunMigrations].
func Run(t *testing.T, engine Engine) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, fixture)
	}{
		{"Users", testUsers},
		{"UserLists", testUserLists},
		{"Groups", testGroups},
		{"Projects", testProjects},
		{"Members", testMembers},
		{"Labels", testLabels},
		{"RemoteRegistries", testRemoteRegistries},
		{"ReplicationPolicies", testReplicationPolicies},
		{"Repositories", testRepositories},
		{"RepositoryChanges", testRepositoryChanges},
		{"Visibility", testVisibility},
		{"Robots", testRobots},
		{"AccessTokens", testAccessTokens},
		{"Blobs", testBlobs},
		{"BlobTombstones", testBlobTombstones},
		{"Manifests", testManifests},
		{"ManifestLarge", testManifestLarge},
		{"Artifacts", testArtifacts},
		{"ArtifactPages", testArtifactPages},
		{"ArtifactCounts", testArtifactCounts},
		{"ListCounts", testListCounts},
		{"ListPages", testListPages},
		{"Ranges", testRanges},
		{"ConfiguredLists", testConfiguredLists},
		{"PartsOfNames", testPartsOfNames},
		{"PartsOfPeople", testPartsOfPeople},
		{"PartsOfTags", testPartsOfTags},
		{"PartsOfTagsOfMany", testPartsOfTagsOfMany},
		{"FilteredTotals", testFilteredTotals},
		{"Tags", testTags},
		{"TagPages", testTagPages},
		{"Referrers", testReferrers},
		{"Catalog", testCatalog},
		{"Uploads", testUploads},
		{"Events", testEvents},
		{"Followers", testFollowers},
		{"EventsRead", testEventsRead},
		{"AuditEntries", testAuditEntries},
		{"AuditDeletion", testAuditDeletion},
		{"Executions", testExecutions},
		{"Turns", testTurns},
		{"ReplicationUploads", testReplicationUploads},
		{"Lanes", testLanes},
		{"Webhooks", testWebhooks},
		{"WebhookDeliveries", testWebhookDeliveries},
		{"Tasks", testTasks},
		{"ManyTasks", testManyTasks},
		{"Schedules", testSchedules},
		{"Fetches", testFetches},
		{"FetchParts", testFetchParts},
		{"SeenTags", testSeenTags},
		{"ForgetFacts", testForgetFacts},
		{"Keys", testKeys},
		{"Sessions", testSessions},
		{"OIDC", testOIDC},
		{"Settings", testSettings},
		{"Quota", testQuota},
		{"QuotaLimit", testQuotaLimit},
		{"QuotaWarning", testQuotaWarning},
		{"QuotaList", testQuotaList},
		{"Recount", testRecount},
		{"Rollback", testRollback},
		{"Fault", testFault},
		{"Panic", testPanic},
		{"Cancelled", testCancelled},
		{"Nested", testNested},
		{"Observer", testObserver},
		{"RaceBlob", testRaceBlob},
		{"RaceUpload", testRaceUpload},
		{"RaceRepository", testRaceRepository},
		{"RaceSetting", testRaceSetting},
		{"RaceUnlink", testRaceUnlink},
		{"RaceEvents", testRaceEvents},
		{"RaceUsers", testRaceUsers},
		{"RaceGroups", testRaceGroups},
		{"RaceAudit", testRaceAudit},
		{"RaceQuota", testRaceQuota},
		{"RaceCount", testRaceCount},
		{"RaceListCounts", testRaceListCounts},
		{"RaceRepositoryChanges", testRaceRepositoryChanges},
		{"RaceRanges", testRaceRanges},
		{"FailuresAmongOthers", testFailuresAmongOthers},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newFixture(t, engine)) })
	}
}

// RunMigrations runs the part of the suite that needs databases without a schema.
func RunMigrations(t *testing.T, engine Engine) {
	t.Run("MigrateTwice", func(t *testing.T) { testMigrateTwice(t, engine(t)) })
	t.Run("MigrateNewer", func(t *testing.T) { testMigrateNewer(t, engine(t)) })
}

// Logger writes to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// OpenMigrated opens a store that is closed when the test ends.
func OpenMigrated(t testing.TB, database Database) *metadata.Store {
	t.Helper()
	store, err := database.Open(Logger(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.Migrate(t.Context()))
	return store
}

// fixture is a store with a user, a project and a repository.
type fixture struct {
	*metadata.Store
	database   Database
	user       metadata.User
	project    metadata.Project
	repository metadata.Repository
}

func newFixture(t testing.TB, engine Engine) fixture {
	t.Helper()
	database := engine(t)
	f := fixture{Store: OpenMigrated(t, database), database: database}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if f.user, err = tx.CreateUser(ctx, metadata.User{Name: "alice"}); err != nil {
			return err
		}
		if f.project, err = tx.CreateProject(ctx, metadata.Project{Name: "library", OwnerID: f.user.ID}); err != nil {
			return err
		}
		f.repository, err = tx.EnsureRepository(ctx, f.project.ID, "library/app")
		return err
	})
	return f
}

// write runs a transaction that must succeed.
func (f fixture) write(t testing.TB, fn func(ctx context.Context, tx *metadata.Tx) error) {
	t.Helper()
	require.NoError(t, f.Tx(t.Context(), fn))
}

// refused runs a transaction and returns its error.
func (f fixture) refused(t testing.TB, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	t.Helper()
	err := f.Tx(t.Context(), fn)
	require.Error(t, err)
	return err
}

// newDigest returns the digest of something nobody else has.
func newDigest() oci.Digest { return digest.FromString(rand.Text()) }

// putBlob stores and links a blob of a fresh digest.
func (f fixture) putBlob(t testing.TB, repository metadata.Repository) metadata.Blob {
	t.Helper()
	var blob metadata.Blob
	d := newDigest()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if blob, err = tx.PutBlob(ctx, metadata.Blob{Digest: d, Size: 7, StorageKey: "key-" + d.Encoded()}); err != nil {
			return err
		}
		return tx.LinkBlob(ctx, repository.ID, d)
	})
	return blob
}

// newManifest returns a manifest of the repository that refers to a blob.
func newManifest(repository metadata.Repository, blobs ...metadata.Blob) metadata.Manifest {
	payload := fmt.Appendf(nil, `{"nonce":%q}`, rand.Text())
	m := metadata.Manifest{RepositoryID: repository.ID, Digest: digest.FromBytes(payload), MediaType: oci.MediaTypeImageManifest, Payload: payload, Size: int64(len(payload))}
	for i, blob := range blobs {
		kind := oci.ReferenceLayer
		if i == 0 {
			kind = oci.ReferenceConfig
		}
		m.References = append(m.References, oci.ManifestReference{Kind: kind, Descriptor: oci.Descriptor{MediaType: "application/x", Digest: blob.Digest, Size: blob.Size}})
	}
	return m
}

// putManifest stores a manifest that must be new.
func (f fixture) putManifest(t testing.TB, m metadata.Manifest) {
	t.Helper()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		created, _, err := tx.PutManifest(ctx, m)
		require.True(t, created || err != nil)
		return err
	})
}

// addRepository makes a project when there is none, and a repository in it.
func (f fixture) addRepository(t testing.TB, name oci.Repository, public bool) metadata.Repository {
	t.Helper()
	var repository metadata.Repository
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.Project(ctx, name.Project())
		if err != nil {
			if project, err = tx.CreateProject(ctx, metadata.Project{Name: name.Project(), Public: public}); err != nil {
				return err
			}
		}
		repository, err = tx.EnsureRepository(ctx, project.ID, name)
		return err
	})
	return repository
}
