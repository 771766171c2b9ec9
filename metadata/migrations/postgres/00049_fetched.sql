-- What has come of a blob is told while another gateway wants it too, in parts that are objects in storage until the blob is one; and
-- what registries elsewhere have under tags is known to all gateways for a while.
-- +goose Up
ALTER TABLE fetches ADD COLUMN size BIGINT NOT NULL DEFAULT -1;
ALTER TABLE fetches ADD COLUMN wanted BOOLEAN NOT NULL DEFAULT FALSE;
CREATE TABLE fetch_parts (
    name        TEXT   COLLATE "C" NOT NULL,
    start       BIGINT NOT NULL,
    length      BIGINT NOT NULL,
    storage_key TEXT   COLLATE "C" NOT NULL,
    PRIMARY KEY (name, start)
);
CREATE INDEX fetch_parts_key ON fetch_parts (storage_key);
CREATE TABLE seen_tags (
    name       TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    digest     TEXT   COLLATE "C" NOT NULL,
    seen_until BIGINT NOT NULL
);
CREATE INDEX seen_tags_until ON seen_tags (seen_until);
