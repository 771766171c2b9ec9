-- What is being fetched from registries elsewhere for projects that are caches of them, so that all gateways fetch it once.
-- +goose Up
CREATE TABLE fetches (
    name        TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    holder      TEXT   COLLATE "C" NOT NULL,
    lease_until BIGINT NOT NULL
);
CREATE INDEX fetches_lease ON fetches (lease_until);
