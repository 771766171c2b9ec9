package metadata

import "context"

var (
	insertArtifactLabel = define("label artifact", `INSERT INTO artifact_labels (label_id, manifest_id, created_at) VALUES ($1, $2, $3)`)
	deleteArtifactLabel = define("unlabel artifact", `DELETE FROM artifact_labels WHERE label_id = $1 AND manifest_id = $2`)
)

// LabelArtifact attaches a label to an artifact. It returns [ErrExists] when it has it, and [ErrNotFound] when there is no such
// artifact. The caller has kept the label with [Tx.KeepLabel].
func (t *Tx) LabelArtifact(ctx context.Context, labelID, manifestID int64) error {
	_, err := t.exec(ctx, insertArtifactLabel, labelID, manifestID, micros(now()))
	return err
}

// UnlabelArtifact takes a label from an artifact, or returns [ErrNotFound].
func (t *Tx) UnlabelArtifact(ctx context.Context, labelID, manifestID int64) error {
	return t.execOne(ctx, deleteArtifactLabel, labelID, manifestID)
}

// LabelsOf returns the first n labels of each artifact, by the artifact's id.
func (r Reader) LabelsOf(ctx context.Context, artifacts []int64, n int) (map[int64][]Label, error) {
	type attached struct {
		Label
		artifact int64
	}
	found, err := firstOfEach(ctx, r, "labels of artifacts", `
		SELECT l.id, COALESCE(l.project_id, 0), l.name, l.description, l.color, l.created_at, l.updated_at, a.manifest_id
		FROM artifact_labels a JOIN labels l ON l.id = a.label_id WHERE a.manifest_id = {id} ORDER BY a.label_id`, artifacts, n,
		func(r row, v *attached) error { return scanLabel(withOwner{r, &v.artifact}, &v.Label) })
	byArtifact := make(map[int64][]Label)
	for _, v := range found {
		byArtifact[v.artifact] = append(byArtifact[v.artifact], v.Label)
	}
	return byArtifact, err
}
