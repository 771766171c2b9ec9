-- Times are microseconds since 1970 in UTC, digests are text "sha256:…", documents are JSON text. Names compare byte by byte.
-- +goose Up
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    name               TEXT    NOT NULL UNIQUE,
    email              TEXT    NOT NULL,
    real_name          TEXT    NOT NULL,
    password_hash      TEXT    NOT NULL,
    system_admin       BOOLEAN NOT NULL,
    disabled           BOOLEAN NOT NULL,
    credential_version BIGINT  NOT NULL,
    created_at         BIGINT  NOT NULL,
    updated_at         BIGINT  NOT NULL
);

CREATE TABLE projects (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    public     BOOLEAN NOT NULL,
    owner_id   BIGINT REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);
CREATE INDEX projects_public ON projects (name) WHERE public;
CREATE INDEX projects_prefix ON projects ((name || '/'));
CREATE INDEX projects_public_prefix ON projects ((name || '/')) WHERE public;
CREATE INDEX projects_owner ON projects (owner_id);

CREATE TABLE members (
    project_id BIGINT  NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id    BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role_id    INTEGER NOT NULL,
    created_at BIGINT  NOT NULL,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX members_user ON members (user_id, project_id);

CREATE TABLE repositories (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id     BIGINT NOT NULL REFERENCES projects (id),
    name           TEXT   NOT NULL UNIQUE,
    pull_count     BIGINT NOT NULL DEFAULT 0,
    last_pulled_at BIGINT,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX repositories_project ON repositories (project_id, name);

CREATE TABLE blobs (
    digest      TEXT   NOT NULL PRIMARY KEY,
    size        BIGINT NOT NULL,
    storage_key TEXT   NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL
);

CREATE TABLE repository_blobs (
    repository_id BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest        TEXT   NOT NULL REFERENCES blobs (digest),
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX repository_blobs_digest ON repository_blobs (digest, repository_id);

CREATE TABLE manifests (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    repository_id BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest        TEXT   NOT NULL,
    media_type    TEXT   NOT NULL,
    artifact_type TEXT   NOT NULL,
    annotations   TEXT,
    subject       TEXT,
    size          BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    payload       BLOB   NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX manifests_subject_type ON manifests (repository_id, subject, artifact_type, digest) WHERE subject IS NOT NULL;

CREATE TABLE manifest_references (
    manifest_id   BIGINT  NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    position      INTEGER NOT NULL,
    repository_id BIGINT  NOT NULL,
    kind          TEXT    NOT NULL,
    digest        TEXT    NOT NULL,
    media_type    TEXT    NOT NULL,
    size          BIGINT  NOT NULL,
    PRIMARY KEY (manifest_id, position)
) WITHOUT ROWID;
CREATE INDEX manifest_references_digest ON manifest_references (repository_id, digest, kind);

CREATE TABLE tags (
    repository_id BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    name          TEXT   NOT NULL,
    manifest_id   BIGINT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, name)
) WITHOUT ROWID;
CREATE INDEX tags_manifest ON tags (manifest_id, name);

CREATE TABLE uploads (
    id            TEXT   NOT NULL PRIMARY KEY,
    repository_id BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    received      BIGINT NOT NULL,
    storage_state BLOB,
    hashes        TEXT   NOT NULL,
    version       BIGINT NOT NULL,
    created_by    TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL
);
CREATE INDEX uploads_repository ON uploads (repository_id);
CREATE INDEX uploads_expiry ON uploads (expires_at, id);

CREATE TABLE events (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_id BIGINT NOT NULL DEFAULT 0,
    kind           TEXT   NOT NULL,
    actor          TEXT   NOT NULL,
    credential     TEXT   NOT NULL,
    request_id     TEXT   NOT NULL,
    address        TEXT   NOT NULL,
    project        TEXT   NOT NULL,
    repository     TEXT   NOT NULL,
    digest         TEXT   NOT NULL,
    tag            TEXT   NOT NULL,
    media_type     TEXT   NOT NULL,
    size           BIGINT NOT NULL,
    subject        TEXT   NOT NULL,
    occurred_at    BIGINT NOT NULL
);
CREATE INDEX events_order ON events (transaction_id, id);

CREATE TABLE signing_keys (
    id          TEXT   NOT NULL PRIMARY KEY,
    algorithm   TEXT   NOT NULL,
    private_key BLOB   NOT NULL,
    public_key  BLOB   NOT NULL,
    created_at  BIGINT NOT NULL,
    retires_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);

CREATE TABLE tombstones (
    storage_key TEXT   NOT NULL PRIMARY KEY,
    created_at  BIGINT NOT NULL
);
CREATE INDEX tombstones_age ON tombstones (created_at, storage_key);
