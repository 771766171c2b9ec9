package metadata

import (
	"context"
	"fmt"
	"time"
)

// Label is a word that artifacts are marked with.
type Label struct {
	ID int64
	// ProjectID is that of the project whose artifacts it is for, 0 when it is for those of all projects.
	ProjectID   int64
	Name        string
	Description string
	Color       string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

const labelColumns = `id, COALESCE(project_id, 0), name, description, color, created_at, updated_at`

var (
	labelByID = define("label", `SELECT `+labelColumns+` FROM labels WHERE id = $1`)
	keepLabel = define("keep label", `SELECT `+labelColumns+` FROM labels WHERE id = $1 {for key share}`)

	insertLabel = define("create label", `
		INSERT INTO labels (project_id, name, description, color, created_at, updated_at)
		VALUES (NULLIF(CAST($1 AS BIGINT), 0), $2, $3, $4, $5, $5)
		RETURNING `+labelColumns)
	updateLabel = define("update label", `
		UPDATE labels SET name = $2, description = $3, color = $4, updated_at = $5 WHERE id = $1
		RETURNING `+labelColumns)
	deleteLabel    = define("delete label", `DELETE FROM labels WHERE id = $1`)
	unlabelAllWith = define("take label from artifacts", `DELETE FROM artifact_labels WHERE label_id = $1`)
)

func scanLabel(r row, l *Label) error {
	return r.Scan(&l.ID, &l.ProjectID, &l.Name, &l.Description, &l.Color, moment{&l.CreatedAt}, moment{&l.UpdatedAt})
}

// Label returns a label, or [ErrNotFound].
func (r Reader) Label(ctx context.Context, id int64) (Label, error) {
	return one(ctx, r, labelByID, scanLabel, id)
}

// KeepLabel returns a label, or [ErrNotFound], and keeps it from being deleted until the transaction ends: whoever attaches it
// needs that.
func (t *Tx) KeepLabel(ctx context.Context, id int64) (Label, error) {
	return one(ctx, t.Reader, keepLabel, scanLabel, id)
}

// labelListing is the listing of labels.
var labelListing = listing[Label]{
	name: "list labels", columns: labelColumns, from: "labels", key: "id", order: "name, id", aged: []string{"creation_time"}, scan: scanLabel,
	fields: map[string]field{
		"id":            {"id", numberField},
		"name":          {"name", textField},
		"description":   {"description", textField},
		"color":         {"color", textField},
		"creation_time": {"created_at", momentField},
		"update_time":   {"updated_at", momentField},
	},
	parted: map[string]parted{"name": {names: "label_parts"}},
}

// ListLabels returns a page of the labels of a project, or of those for all projects when it is 0, and how many there are. The
// error wraps [ErrQuery] when they cannot be filtered like that.
func (r Reader) ListLabels(ctx context.Context, projectID int64, q Query) ([]Label, int64, error) {
	where, args := "project_id IS NULL", []any{}
	if projectID != 0 {
		where, args = "project_id = $1", []any{projectID}
	}
	return labelListing.list(ctx, r, q, kept("labels", projectID), where, args...)
}

// CreateLabel adds a label and returns the row. It returns [ErrExists] when the project, or the registry, has one of that name,
// and [ErrNotFound] when there is no such project.
func (t *Tx) CreateLabel(ctx context.Context, l Label) (Label, error) {
	created, err := one(ctx, t.Reader, insertLabel, scanLabel, l.ProjectID, l.Name, l.Description, l.Color, micros(now()))
	if err != nil {
		return Label{}, fmt.Errorf("label %q: %w", l.Name, err)
	}
	return created, nil
}

// UpdateLabel writes name, description and color of the label with that id, and returns the row. It returns [ErrNotFound], or
// [ErrExists] when the new name is taken.
func (t *Tx) UpdateLabel(ctx context.Context, l Label) (Label, error) {
	updated, err := one(ctx, t.Reader, updateLabel, scanLabel, l.ID, l.Name, l.Description, l.Color, micros(now()))
	if err != nil {
		return Label{}, fmt.Errorf("label %q: %w", l.Name, err)
	}
	return updated, nil
}

// DeleteLabel takes a label from all artifacts and removes it. It returns [ErrNotFound].
func (t *Tx) DeleteLabel(ctx context.Context, id int64) error {
	if err := t.execOne(ctx, deleteLabel, id); err != nil {
		return err
	}
	_, err := t.exec(ctx, unlabelAllWith, id)
	return err
}
