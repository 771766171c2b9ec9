package metadata

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/oci"
)

// Facts are what is derived once from a manifest and its config, for people to look at.
type Facts struct {
	// Kind is what it is: "IMAGE", "CHART", …
	Kind string
	// ConfigMediaType is the media type of the config; that of the manifest where it has none.
	ConfigMediaType string
	// ContentSize is the number of bytes of the manifest, its config and its layers; of an index with all it lists.
	ContentSize int64
	// Accessory says what the manifest is to AccessoryOf, "signature.cosign" and the like; both are empty for what stands for itself.
	Accessory   string
	AccessoryOf oci.Digest
	// Icon is the digest of a layer with a picture, "" for none.
	Icon oci.Digest
	// Attributes is a JSON object of what the config says; nil until it was read.
	Attributes json.RawMessage
}

// Artifact is a manifest as people look at it.
type Artifact struct {
	// Manifest has neither payload nor references.
	Manifest
	ProjectID  int64
	Repository oci.Repository
	PulledAt   time.Time // zero when never pulled
	// PushedAt is when the manifest was pushed last.
	PushedAt time.Time
	TagCount int64
	// IndexCount is how many entries of indexes list it.
	IndexCount int64
}

// Place is where the artifact stands in [Reader.ListArtifacts].
func (a Artifact) Place() Place { return Place{a.ID} }

const (
	artifactColumns = manifestColumns + `, a.project_id, r.name, a.pulled_at, COALESCE(a.pushed_at, a.created_at), a.tag_count, a.index_count,
		a.kind, a.config_media_type, a.content_size, a.accessory, COALESCE(a.accessory_of, ''), COALESCE(a.icon, ''), a.attributes`
	artifactJoins = ` JOIN manifests m ON m.id = a.id JOIN repositories r ON r.id = a.repository_id`
)

var (
	artifactByDigest = define("artifact", `
		SELECT `+artifactColumns+` FROM repositories r JOIN manifests m ON m.repository_id = r.id JOIN artifacts a ON a.id = m.id
		WHERE r.name = $1 AND m.digest = $2`)
	artifactByTag = define("artifact by tag", `
		SELECT `+artifactColumns+` FROM repositories r JOIN tags t ON t.repository_id = r.id
			JOIN manifests m ON m.id = t.manifest_id JOIN artifacts a ON a.id = m.id
		WHERE r.name = $1 AND t.name = $2`)
	artifactsOfProject = define("artifacts of project", `
		SELECT part / 16, CAST(SUM(entries) AS BIGINT) FROM list_counts WHERE list = 'artifacts of project' AND owner = $1 GROUP BY 1 ORDER BY 1`)
	unreadArtifacts = define("unread artifacts", `
		SELECT a.id, r.name, a.repository_id, m.media_type, m.digest, m.payload
		FROM artifacts a JOIN manifests m ON m.id = a.id JOIN repositories r ON r.id = a.repository_id
		WHERE a.attributes IS NULL AND a.id > $1 ORDER BY a.id LIMIT $2`)
	listedManifests = define("listed manifests", `
		SELECT f.manifest_id, f.digest, COALESCE(c.id, 0), f.details
		FROM manifest_references f LEFT JOIN manifests c ON c.repository_id = f.repository_id AND c.digest = f.digest
		WHERE f.manifest_id {any id of}$1{these ids} AND f.kind = 'manifest' AND f.position < $2
		ORDER BY f.manifest_id, f.position`)
	iconInView = define("icon in view", `
		SELECT r.name FROM artifacts a JOIN repositories r ON r.id = a.repository_id JOIN projects p ON p.id = a.project_id
		WHERE a.icon = $1 AND ($2 OR p.public OR EXISTS (SELECT 1 FROM user_roles u WHERE u.project_id = p.id AND u.user_id = $3)
			OR p.name IN (SELECT value FROM {texts}($4{json}))) LIMIT 1`)

	// An index has the size of what it lists as well. The cross join keeps SQLite from walking over the repository instead of the list.
	contentSize = `CAST($5 AS BIGINT) + COALESCE((SELECT CAST(SUM(c.content_size) AS BIGINT) FROM {texts}($3{json}) d
		CROSS JOIN manifests k JOIN artifacts c ON c.id = k.id WHERE k.repository_id = $2 AND k.digest = d.value), 0)`
	insertArtifact = define("put artifact", `
		INSERT INTO artifacts (id, repository_id, project_id, created_at, kind, config_media_type, content_size, accessory, accessory_of, icon, attributes, index_count)
		SELECT m.id, r.id, r.project_id, m.created_at, CAST($4 AS TEXT), CAST($6 AS TEXT), `+contentSize+`, CAST($7 AS TEXT),
			CAST($8 AS TEXT), CAST($9 AS TEXT), CAST($10 AS TEXT),
			(SELECT COUNT(*) FROM manifest_references f WHERE f.repository_id = m.repository_id AND f.digest = m.digest AND f.kind = 'manifest')
		FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE m.id = $1`)
	updateArtifact = define("update artifact", `
		UPDATE artifacts SET kind = $4, config_media_type = $6, content_size = `+contentSize+`,
			accessory = CASE WHEN CAST($8 AS TEXT) IS NULL THEN accessory ELSE $7 END, accessory_of = COALESCE(CAST($8 AS TEXT), accessory_of),
			icon = $9, attributes = $10
		WHERE id = $1`)
	forgetFacts = define("forget facts of config", `
		UPDATE artifacts SET attributes = NULL WHERE id IN (
			SELECT manifest_id FROM manifest_references WHERE repository_id = $1 AND digest = $2 AND kind = 'config')`)
	markAccessory = define("mark accessory", `
		UPDATE artifacts SET accessory = $3, accessory_of = $4
		WHERE id = (SELECT id FROM manifests WHERE repository_id = $1 AND digest = $2) AND accessory_of IS NULL`)
	updateDetails = define("put details of references", `
		UPDATE manifest_references SET details = e.details
		FROM (SELECT CAST(value->>'position' AS INTEGER) AS position, value->>'details' AS details FROM {elements}($2{json})) AS e
		WHERE manifest_references.manifest_id = $1 AND manifest_references.position = e.position`)
)

func scanArtifact(r row, a *Artifact) error {
	var attributes sql.NullString
	err := scanManifestAnd(r, &a.Manifest, &a.ProjectID, &a.Repository, moment{&a.PulledAt}, moment{&a.PushedAt}, &a.TagCount, &a.IndexCount,
		&a.Facts.Kind, &a.Facts.ConfigMediaType, &a.Facts.ContentSize, &a.Facts.Accessory, &a.Facts.AccessoryOf, &a.Facts.Icon, &attributes)
	if attributes.Valid {
		a.Facts.Attributes = json.RawMessage(attributes.String)
	}
	return err
}

// Artifact returns the artifact that a digest or a tag stands for in the repository, or [ErrNotFound].
func (r Reader) Artifact(ctx context.Context, repository oci.Repository, reference oci.Reference) (Artifact, error) {
	if reference.Tag != "" {
		return one(ctx, r, artifactByTag, scanArtifact, string(repository), reference.Tag)
	}
	return one(ctx, r, artifactByDigest, scanArtifact, string(repository), string(reference.Digest))
}

// Collection is a set of artifacts: those of a project, or of one repository when its id is not 0.
type Collection struct {
	ProjectID, RepositoryID int64
	// Whole has the accessories too, and the untagged manifests that an index lists.
	Whole bool
}

// artifactListing is the listing of artifacts for callers who filter, sort and turn pages: the newest first. Rows of other tables are
// narrowed by owner, a condition on their repository m.repository_id; of tags in an index of parts those that have no number by
// unnumbered, another such condition, and the others by numbered, one on their number m.rowid. All have the parameter $1. Whole tags are
// found by their ends where there may be many repositories to look into.
func artifactListing(owner, unnumbered, numbered string, ends bool) *listing[Artifact] {
	manifest := `a.id IN (SELECT m.id FROM manifests m WHERE ` + owner + ` AND {condition})`
	tagged := ` m CROSS JOIN artifacts a WHERE a.id = m.manifest_id AND ({where}) AND {condition} AND `
	return &listing[Artifact]{
		name: "list artifacts", columns: artifactColumns, from: "artifacts a", joined: artifactJoins, scan: scanArtifact,
		key: "a.id", tie: "a.id", order: "a.id DESC", after: "a.id < {1}", aged: []string{"push_time"},
		fields: map[string]field{
			"id":                  {"a.id", numberField},
			"type":                {"a.kind", textField},
			"media_type":          {"a.config_media_type", textField},
			"size":                {"a.content_size", numberField},
			"push_time":           {"a.created_at", momentField},
			"pull_time":           {"COALESCE(a.pulled_at, 0)", momentField},
			"repository_id":       {"a.repository_id", numberField},
			"tag_count":           {"a.tag_count", numberField},
			"digest":              {"m.digest", textField},
			"manifest_media_type": {"m.media_type", textField},
			"artifact_type":       {"m.artifact_type", textField},
			"tags":                {"m.name", textField},
			"labels":              {"l.label_id", numberField},
			"repository_name":     {"r.name", textField},
		},
		within: map[string]string{
			"digest":              manifest,
			"manifest_media_type": manifest,
			"artifact_type":       manifest,
			"tags":                `a.id IN (SELECT m.manifest_id FROM tags m WHERE ` + owner + ` AND {condition})`,
			"labels":              `a.id IN (SELECT l.manifest_id FROM artifact_labels l WHERE {condition})`,
			"repository_name":     `a.repository_id IN (SELECT r.id FROM repositories r WHERE {condition})`,
		},
		parted: map[string]parted{"tags": {
			exact: `SELECT m.manifest_id FROM tags` + tagged + owner, ends: ends,
			// Each has its limit: PostgreSQL would choose the plan for all rows of the first, whatever limits the union.
			keys: `SELECT * FROM (SELECT m.manifest_id FROM unnumbered_tags` + tagged + unnumbered + ` {limit}) AS unnumbered
				UNION ALL SELECT * FROM (SELECT m.manifest_id FROM tag_parts` + tagged + numbered + ` AND m.name {part} {limit}) AS numbered`,
			first: `SELECT m.manifest_id FROM (SELECT m.manifest_id, m.name FROM tags m WHERE ` + owner + `{first}) AS m CROSS JOIN artifacts a
				WHERE a.id = m.manifest_id AND ({where}) AND {condition}`,
			each: `EXISTS (SELECT 1 FROM tags m WHERE m.manifest_id = a.id AND {condition})`,
		}},
	}
}

var (
	repositoryArtifacts = artifactListing(`m.repository_id = $1`, `m.repository_id = $1`, `m.rowid BETWEEN $1 * 4294967296 AND $1 * 4294967296 + 4294967295`, false)
	projectArtifacts    = artifactListing(`m.repository_id IN (SELECT id FROM repositories WHERE project_id = $1)`, `TRUE`, `TRUE`, true)
)

// artifactsWidth is how many ids have counts of their own among the artifacts of a project.
const artifactsWidth = 16_384

// ListArtifacts returns a page of the artifacts, the newest first, and how many there are. The error wraps [ErrQuery] when they
// cannot be filtered like that.
func (r Reader) ListArtifacts(ctx context.Context, c Collection, q Query) ([]Artifact, int64, error) {
	list, where, arg, whole := projectArtifacts, "a.project_id = $1", c.ProjectID, keptWide(artifactsOfProject, artifactsWidth, c.ProjectID)
	if c.RepositoryID != 0 {
		list, where, arg, whole = repositoryArtifacts, "a.repository_id = $1", c.RepositoryID, kept("artifacts", c.RepositoryID)
	}
	if c.Whole {
		whole = nil
	} else {
		where += " AND a.listed"
	}
	return list.list(ctx, r, q, whole, where, arg)
}

// accessoryListing is the listing of the accessories of one subject, the oldest first.
var accessoryListing = listing[Artifact]{
	name: "list accessories", columns: artifactColumns, from: "artifacts a", joined: artifactJoins, scan: scanArtifact,
	key: "a.id", tie: "a.id", order: "a.id", after: "a.id > {1}",
	fields: map[string]field{
		"id":            {"a.id", numberField},
		"artifact_id":   {"a.id", numberField},
		"type":          {"a.accessory", textField},
		"size":          {"a.content_size", numberField},
		"creation_time": {"a.created_at", momentField},
		"digest":        {"m.digest", textField},
	},
	within: map[string]string{"digest": `a.id IN (SELECT m.id FROM manifests m WHERE m.repository_id = $1 AND {condition})`},
}

// ListAccessories returns a page of the accessories that a subject has in the repository, and how many there are. The subject need
// not exist.
func (r Reader) ListAccessories(ctx context.Context, repositoryID int64, subject oci.Digest, q Query) ([]Artifact, int64, error) {
	const where = "a.repository_id = $1 AND a.accessory_of = $2"
	return accessoryListing.list(ctx, r, q, nil, where, repositoryID, string(subject))
}

// AccessoriesOf returns the first n accessories of each artifact, by the artifact's id.
func (r Reader) AccessoriesOf(ctx context.Context, artifacts []int64, n int) (map[int64][]Artifact, error) {
	type owned struct {
		Artifact
		owner int64
	}
	found, err := firstOfEach(ctx, r, "accessories of artifacts", `
		SELECT `+artifactColumns+`, s.id AS owner FROM artifacts s JOIN manifests k ON k.id = s.id
			JOIN artifacts a ON a.repository_id = s.repository_id AND a.accessory_of = k.digest`+artifactJoins+`
		WHERE s.id = {id} ORDER BY a.id`, artifacts, n,
		func(r row, v *owned) error { return scanArtifact(withOwner{r, &v.owner}, &v.Artifact) })
	byOwner := make(map[int64][]Artifact)
	for _, v := range found {
		byOwner[v.owner] = append(byOwner[v.owner], v.Artifact)
	}
	return byOwner, err
}

// withOwner is a row with one more column at its end.
type withOwner struct {
	row
	owner *int64
}

// Scan reads the row.
func (r withOwner) Scan(dest ...any) error { return r.row.Scan(append(dest, r.owner)...) }

// ListedManifest is an entry of an index.
type ListedManifest struct {
	IndexID int64
	Digest  oci.Digest
	// ManifestID is 0 when the repository has no such manifest any more.
	ManifestID int64
	Details    oci.Descriptor
}

// ListedManifests returns what each of the indexes lists, by the index's id; of each the first n entries.
func (r Reader) ListedManifests(ctx context.Context, indexes []int64, n int) (map[int64][]ListedManifest, error) {
	list, err := idList(indexes)
	if err != nil || len(indexes) == 0 {
		return nil, err
	}
	rows, err := all(ctx, r, listedManifests, scanListedManifest, list, n)
	byIndex := make(map[int64][]ListedManifest)
	for _, row := range rows {
		byIndex[row.IndexID] = append(byIndex[row.IndexID], row)
	}
	return byIndex, err
}

func scanListedManifest(r row, v *ListedManifest) error {
	var details sql.NullString
	if err := r.Scan(&v.IndexID, &v.Digest, &v.ManifestID, &details); err != nil {
		return err
	}
	if !details.Valid {
		return nil
	}
	if err := json.Unmarshal([]byte(details.String), &v.Details); err != nil {
		return fmt.Errorf("details of %s: %w", v.Digest, err)
	}
	return nil
}

// UnreadArtifact is one whose config was not read yet; its manifest has nothing but the repository's id, payload, media type and digest.
type UnreadArtifact struct {
	ID         int64
	Repository oci.Repository
	Manifest   Manifest
}

// UnreadArtifacts returns up to n artifacts with ids after the given one whose configs were not read yet.
func (r Reader) UnreadArtifacts(ctx context.Context, after int64, n int) ([]UnreadArtifact, error) {
	return all(ctx, r, unreadArtifacts, func(r row, u *UnreadArtifact) error {
		return r.Scan(&u.ID, &u.Repository, &u.Manifest.RepositoryID, &u.Manifest.MediaType, &u.Manifest.Digest, &u.Manifest.Payload)
	}, after, limit(n))
}

// IconInView returns a repository of the view with an artifact that has the icon, or [ErrNotFound].
func (r Reader) IconInView(ctx context.Context, v Visibility, icon oci.Digest) (oci.Repository, error) {
	return one(ctx, r, iconInView, value[oci.Repository], string(icon), v.All, v.UserID, v.names())
}

// putFacts writes the facts of the manifest with the id.
func (t *Tx) putFacts(ctx context.Context, s *statement, id int64, m Manifest) error {
	children := []oci.Digest{}
	for _, reference := range m.References {
		if reference.Kind == oci.ReferenceManifest {
			children = append(children, reference.Descriptor.Digest)
		}
	}
	list, err := json.Marshal(children)
	if err != nil {
		return fmt.Errorf("encode children: %w", err)
	}
	text := func(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
	f := m.Facts
	return t.execOne(ctx, s, id, m.RepositoryID, string(list), f.Kind, f.ContentSize, f.ConfigMediaType, f.Accessory,
		text(string(f.AccessoryOf)), text(string(f.Icon)), text(string(f.Attributes)))
}

// ForgetFactsOf has the configs of those manifests of the repository read anew that have the digest as their config: for whoever
// stores a config after its manifest.
func (t *Tx) ForgetFactsOf(ctx context.Context, repositoryID int64, config oci.Digest) error {
	_, err := t.exec(ctx, forgetFacts, repositoryID, string(config))
	return err
}

// SetFacts writes what was derived from a manifest that was stored before, with its references. What the manifest is an accessory of
// stays when the facts name nothing. It returns [ErrNotFound] when the manifest is gone.
func (t *Tx) SetFacts(ctx context.Context, id int64, m Manifest) error {
	listing := slices.ContainsFunc(m.References, func(r oci.ManifestReference) bool { return r.Kind == oci.ReferenceManifest })
	if err := t.putFacts(ctx, updateArtifact, id, m); err != nil || !listing {
		return err
	}
	list, err := encodeReferences(0, m.References)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, updateDetails, id, list)
	return err
}

// MarkAccessory makes a manifest an accessory of a subject, unless it is one.
func (t *Tx) MarkAccessory(ctx context.Context, repositoryID int64, digest oci.Digest, accessory string, subject oci.Digest) error {
	_, err := t.exec(ctx, markAccessory, repositoryID, string(digest), accessory, string(subject))
	return err
}
