-- Rules about which artifacts of a project are kept, and what was deleted and can be had back for a while.
-- +goose Up
-- When a manifest that was there already was pushed again; null when it was not.
ALTER TABLE artifacts ADD COLUMN pushed_at BIGINT;

-- The rules and what starts them are JSON.
CREATE TABLE retention_policies (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id BIGINT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    rules      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX retention_policies_project ON retention_policies (project_id);

-- A manifest with the tags that stood for it, or, where the payload is null, a tag alone. What was deleted together has one root.
-- Project and repository may be gone as well.
CREATE TABLE deletions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    root_id    BIGINT,
    project_id BIGINT NOT NULL,
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    media_type TEXT NOT NULL,
    payload    BLOB,
    tags       TEXT NOT NULL,
    actor      TEXT NOT NULL,
    deleted_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX deletions_project ON deletions (project_id, id) WHERE root_id IS NULL;
CREATE INDEX deletions_root ON deletions (root_id, id) WHERE root_id IS NOT NULL;
CREATE INDEX deletions_digest ON deletions (repository, digest, id);
CREATE INDEX deletions_expiry ON deletions (expires_at, id);

-- The blobs that a deleted manifest needs to come back.
CREATE TABLE deletion_blobs (
    deletion_id BIGINT NOT NULL REFERENCES deletions (id) ON DELETE CASCADE,
    digest      TEXT NOT NULL,
    PRIMARY KEY (deletion_id, digest)
) WITHOUT ROWID;
CREATE INDEX deletion_blobs_digest ON deletion_blobs (digest, deletion_id);
