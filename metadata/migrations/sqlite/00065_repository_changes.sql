-- When a repository last changed. Here there is one writer, which writes that into the repository and no rows with changes.
-- +goose Up
ALTER TABLE list_counts ADD COLUMN changed_at BIGINT;

UPDATE repositories SET updated_at = c.changed_at FROM (
    SELECT repository_id, MAX(changed_at) AS changed_at FROM (
        SELECT repository_id, COALESCE(pushed_at, created_at) AS changed_at FROM artifacts
        UNION ALL SELECT repository_id, updated_at FROM tags) AS changes
    GROUP BY 1) AS c
WHERE c.repository_id = repositories.id AND c.changed_at > repositories.updated_at;

CREATE VIEW repository_changes AS SELECT id AS repository_id, updated_at AS changed_at FROM repositories;
-- +goose StatementBegin
CREATE TRIGGER repository_changes_noted INSTEAD OF INSERT ON repository_changes BEGIN
    UPDATE repositories SET updated_at = MAX(updated_at, NEW.changed_at) WHERE id = NEW.repository_id;
END;
-- +goose StatementEnd
DROP TRIGGER artifacts_inserted;
-- +goose StatementBegin
CREATE TRIGGER artifacts_inserted AFTER INSERT ON artifacts BEGIN
    UPDATE repositories SET artifact_count = artifact_count + NEW.listed, updated_at = MAX(updated_at, NEW.created_at) WHERE id = NEW.repository_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_pushed_again AFTER UPDATE OF pushed_at ON artifacts BEGIN
    UPDATE repositories SET updated_at = MAX(updated_at, NEW.pushed_at) WHERE id = NEW.repository_id;
END;
-- +goose StatementEnd
