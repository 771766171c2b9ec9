-- Robot accounts with what they may do, and the access tokens of people.
-- +goose Up
CREATE TABLE robots (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT    NOT NULL UNIQUE,
    plain_name     TEXT    NOT NULL UNIQUE,
    project_id     BIGINT REFERENCES projects (id) ON DELETE CASCADE,
    description    TEXT    NOT NULL,
    secret_hash    TEXT    NOT NULL,
    secret_version BIGINT  NOT NULL,
    disabled       BOOLEAN NOT NULL,
    duration       BIGINT  NOT NULL,
    expires_at     BIGINT,
    creator_kind   TEXT    NOT NULL,
    creator_id     BIGINT  NOT NULL,
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL
);
CREATE INDEX robots_project ON robots (project_id, name);

CREATE TABLE robot_permissions (
    robot_id   BIGINT  NOT NULL REFERENCES robots (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    project_id BIGINT REFERENCES projects (id) ON DELETE CASCADE,
    namespace  TEXT    NOT NULL,
    resource   TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    PRIMARY KEY (robot_id, position)
) WITHOUT ROWID;
CREATE INDEX robot_permissions_project ON robot_permissions (project_id) WHERE project_id IS NOT NULL;

CREATE TABLE access_tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id      BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind         TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    secret_hash  TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,
    projects     TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT
);
CREATE UNIQUE INDEX access_tokens_name ON access_tokens (user_id, kind, name);
CREATE UNIQUE INDEX access_tokens_secret ON access_tokens (secret_hash);
