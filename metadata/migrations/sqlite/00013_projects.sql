-- What belongs to projects: their metadata, labels, rules about tags, and vulnerabilities that are allowed.
-- +goose Up
CREATE TABLE project_metadata (
    project_id BIGINT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    value      TEXT   NOT NULL,
    PRIMARY KEY (project_id, name)
) WITHOUT ROWID;

-- A label without a project is one of the registry's.
CREATE TABLE labels (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  BIGINT REFERENCES projects (id) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    color       TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX labels_project ON labels (project_id, name);
CREATE UNIQUE INDEX labels_registry ON labels (name) WHERE project_id IS NULL;

CREATE TABLE immutable_rules (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id   BIGINT  NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    disabled     BOOLEAN NOT NULL,
    priority     BIGINT  NOT NULL,
    repositories TEXT    NOT NULL,
    tags         TEXT    NOT NULL,
    created_at   BIGINT  NOT NULL,
    updated_at   BIGINT  NOT NULL
);
CREATE INDEX immutable_rules_project ON immutable_rules (project_id, id);

-- The list without a project is the registry's.
CREATE TABLE cve_allowlists (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id BIGINT REFERENCES projects (id) ON DELETE CASCADE,
    cves       TEXT   NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX cve_allowlists_project ON cve_allowlists (project_id);
CREATE UNIQUE INDEX cve_allowlists_registry ON cve_allowlists ((project_id IS NULL)) WHERE project_id IS NULL;
