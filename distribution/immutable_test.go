package distribution_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/oci"
)

// makeImmutable adds a rule to the project library and returns its id.
func (s *server) makeImmutable(repositories, tags string) (id int64) {
	s.t.Helper()
	require.NoError(s.t, s.store.Tx(s.t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.Project(ctx, "library")
		if err != nil {
			return err
		}
		rule, err := tx.CreateImmutableRule(ctx, metadata.ImmutableRule{
			ProjectID: project.ID, Repositories: []metadata.Selector{{Pattern: repositories}}, Tags: []metadata.Selector{{Pattern: tags}},
		})
		id = rule.ID
		return err
	}))
	return id
}

func TestImmutableTag_neitherMovesNorGoes(t *testing.T) {
	s := newServer(t, nil)
	digest, manifest := s.pushImage("library/app", "v1", []byte("one"))
	other, next := s.pushImage("library/app", "latest", []byte("two"))
	s.pushImage("library/other", "v1", []byte("one"))
	rule := s.makeImmutable("app", "v*")

	refused := s.want(412, s.putManifest("library/app", "v1", next))
	assert.Equal(t, "PRECONDITION", refused.code())
	assert.Contains(t, string(refused.body), "tag v1")
	assert.Contains(t, string(refused.body), fmt.Sprintf("rule %d", rule))
	s.want(201, s.putManifest("library/app", "v1", manifest)) // the same again
	s.want(412, s.putManifest("library/app", other.String()+"?tag=v0&tag=v1", next))
	s.want(404, s.get("/v2/library/app/manifests/v0")) // all or nothing
	s.want(412, s.do("DELETE", "/v2/library/app/manifests/v1", nil))
	s.want(412, s.do("DELETE", "/v2/library/app/manifests/"+digest.String(), nil))
	assert.Equal(t, digest.String(), s.want(200, s.get("/v2/library/app/manifests/v1")).Header.Get("Docker-Content-Digest"))

	s.want(201, s.putManifest("library/app", "v2", next))         // a new tag
	s.want(201, s.putManifest("library/app", "latest", manifest)) // not selected
	s.want(202, s.do("DELETE", "/v2/library/app/manifests/latest", nil))
	s.want(202, s.do("DELETE", "/v2/library/other/manifests/v1", nil)) // not selected

	require.NoError(t, s.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.Project(ctx, "library")
		if err != nil {
			return err
		}
		return tx.DeleteImmutableRule(ctx, project.ID, rule)
	}))
	s.want(201, s.putManifest("library/app", "v1", next)) // at once
}

func TestImmutableTag_oneOfRacingPushesWins(t *testing.T) {
	for engine, open := range map[string]func(t *testing.T) *metadata.Store{
		"sqlite":   func(t *testing.T) *metadata.Store { return sqlitetest.Open(t) },
		"postgres": func(t *testing.T) *metadata.Store { return postgrestest.Open(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			s := newServerOver(t, nil, nil, open(t))
			s.makeImmutable("**", "**")
			manifests := make([][]byte, 4)
			for i := range manifests {
				manifests[i] = imageOf(s.pushBlob("library/app", []byte("{}")), s.pushBlob("library/app", fmt.Appendf(nil, "layer %d", i)), "", "")
			}
			for round := range 10 {
				tag := fmt.Sprintf("v%d", round)
				statuses := make([]int, len(manifests))
				var wait sync.WaitGroup
				for i, manifest := range manifests {
					wait.Go(func() { statuses[i] = s.putManifest("library/app", tag, manifest).StatusCode })
				}
				wait.Wait()
				winner := -1
				for i, status := range statuses {
					if status == 201 {
						assert.Equal(t, -1, winner, "two have won: %v", statuses)
						winner = i
					} else {
						assert.Equal(t, 412, status)
					}
				}
				require.GreaterOrEqual(t, winner, 0)
				stands := s.want(200, s.get("/v2/library/app/manifests/"+tag)).Header.Get("Docker-Content-Digest")
				assert.Equal(t, oci.SHA256.FromBytes(manifests[winner]).String(), stands)
			}
		})
	}
}
