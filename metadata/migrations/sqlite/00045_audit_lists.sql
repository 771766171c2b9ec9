-- The resources that the audit log is about, each once, so that parts of their names are found by an index; and the counts of its
-- entries once more for each 64 buckets, so that finding a page reads few of either.
-- +goose Up
CREATE TABLE audit_resources (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    resource TEXT NOT NULL UNIQUE
);
INSERT INTO audit_resources (resource) SELECT DISTINCT resource FROM audit_entries;
CREATE VIRTUAL TABLE audit_resource_parts USING fts5 (resource, content = 'audit_resources', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO audit_resource_parts (audit_resource_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER audit_resources_named AFTER INSERT ON audit_resources BEGIN
    INSERT INTO audit_resource_parts (rowid, resource) VALUES (NEW.id, NEW.resource);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_resources_unnamed AFTER DELETE ON audit_resources BEGIN
    INSERT INTO audit_resource_parts (audit_resource_parts, rowid, resource) VALUES ('delete', OLD.id, OLD.resource);
END;
-- +goose StatementEnd

CREATE TABLE audit_spans (
    project_id BIGINT NOT NULL,
    span       BIGINT NOT NULL,
    entries    BIGINT NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    PRIMARY KEY (project_id, span)
) WITHOUT ROWID;
INSERT INTO audit_spans (project_id, span, entries, first_at, last_at)
    SELECT project_id, bucket / 64, SUM(entries), MIN(first_at), MAX(last_at) FROM audit_buckets GROUP BY 1, 2;
