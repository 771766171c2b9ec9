package metadata

import (
	"context"
	"encoding/json"
	"fmt"
)

// Selector chooses names by a pattern, or those that it does not match.
type Selector struct {
	Pattern string `json:"pattern"`
	Exclude bool   `json:"exclude,omitempty"`
}

// ImmutableRule says which tags of a project stay where they are.
type ImmutableRule struct {
	ID        int64
	ProjectID int64
	Disabled  bool
	Priority  int64
	// Repositories and Tags are both to be met, each selector of them.
	Repositories []Selector
	Tags         []Selector
}

const immutableRuleColumns = `id, project_id, disabled, priority, repositories, tags`

var (
	immutableRules = define("immutable rules", `
		SELECT `+immutableRuleColumns+` FROM immutable_rules WHERE project_id = $1 ORDER BY id`)

	insertImmutableRule = define("create immutable rule", `
		INSERT INTO immutable_rules (project_id, disabled, priority, repositories, tags, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6)
		RETURNING `+immutableRuleColumns)
	updateImmutableRule = define("update immutable rule", `
		UPDATE immutable_rules SET disabled = $3, priority = $4, repositories = $5, tags = $6, updated_at = $7 WHERE project_id = $1 AND id = $2`)
	deleteImmutableRule = define("delete immutable rule", `DELETE FROM immutable_rules WHERE project_id = $1 AND id = $2`)
)

func scanImmutableRule(r row, v *ImmutableRule) error {
	var repositories, tags []byte
	if err := r.Scan(&v.ID, &v.ProjectID, &v.Disabled, &v.Priority, &repositories, &tags); err != nil {
		return err
	}
	if err := json.Unmarshal(repositories, &v.Repositories); err != nil {
		return fmt.Errorf("immutable rule %d: %w", v.ID, err)
	}
	if err := json.Unmarshal(tags, &v.Tags); err != nil {
		return fmt.Errorf("immutable rule %d: %w", v.ID, err)
	}
	return nil
}

// ImmutableRules returns the rules of a project, of which there are few, the oldest first.
func (r Reader) ImmutableRules(ctx context.Context, projectID int64) ([]ImmutableRule, error) {
	return all(ctx, r, immutableRules, scanImmutableRule, projectID)
}

// CreateImmutableRule adds a rule and returns the row. It returns [ErrNotFound] when there is no such project.
func (t *Tx) CreateImmutableRule(ctx context.Context, v ImmutableRule) (ImmutableRule, error) {
	repositories, tags, err := encodeSelectors(v)
	if err != nil {
		return ImmutableRule{}, err
	}
	return one(ctx, t.Reader, insertImmutableRule, scanImmutableRule, v.ProjectID, v.Disabled, v.Priority, repositories, tags, micros(now()))
}

// UpdateImmutableRule writes the rule of that project with that id, or returns [ErrNotFound].
func (t *Tx) UpdateImmutableRule(ctx context.Context, v ImmutableRule) error {
	repositories, tags, err := encodeSelectors(v)
	if err != nil {
		return err
	}
	return t.execOne(ctx, updateImmutableRule, v.ProjectID, v.ID, v.Disabled, v.Priority, repositories, tags, micros(now()))
}

// DeleteImmutableRule removes a rule of a project, or returns [ErrNotFound].
func (t *Tx) DeleteImmutableRule(ctx context.Context, projectID, id int64) error {
	return t.execOne(ctx, deleteImmutableRule, projectID, id)
}

func encodeSelectors(v ImmutableRule) (repositories, tags string, err error) {
	first, err := json.Marshal(v.Repositories)
	if err != nil {
		return "", "", fmt.Errorf("repositories of immutable rule: %w", err)
	}
	second, err := json.Marshal(v.Tags)
	if err != nil {
		return "", "", fmt.Errorf("tags of immutable rule: %w", err)
	}
	return string(first), string(second), nil
}
