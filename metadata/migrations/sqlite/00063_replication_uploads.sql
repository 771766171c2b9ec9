-- Where the uploads of large blobs to registries elsewhere go on, so that who takes a task over begins where its worker died.
-- +goose Up
CREATE TABLE replication_uploads (
    task_id  BIGINT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    digest   TEXT NOT NULL,
    location BLOB NOT NULL,
    PRIMARY KEY (task_id, digest)
) WITHOUT ROWID;
