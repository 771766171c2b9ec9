-- What is being fetched from registries elsewhere for projects that are caches of them, so that all gateways fetch it once.
-- +goose Up
CREATE TABLE fetches (
    name        TEXT   NOT NULL PRIMARY KEY,
    holder      TEXT   NOT NULL,
    lease_until BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX fetches_lease ON fetches (lease_until);
