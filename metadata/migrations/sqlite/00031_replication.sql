-- Registries elsewhere, and what is replicated to or from them. A policy has exactly one of them: the other side is this registry.
-- +goose Up
CREATE TABLE registries (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL UNIQUE,
    url            TEXT NOT NULL,
    kind           TEXT NOT NULL,
    description    TEXT NOT NULL,
    login          TEXT NOT NULL,
    username       TEXT NOT NULL,
    secret         BLOB,
    insecure       BOOLEAN NOT NULL,
    ca_certificate TEXT NOT NULL,
    status         TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);

CREATE TABLE replication_policies (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL UNIQUE,
    description    TEXT NOT NULL,
    creator        TEXT NOT NULL,
    source_id      BIGINT REFERENCES registries (id),
    destination_id BIGINT REFERENCES registries (id),
    namespace      TEXT NOT NULL,
    replaced       INTEGER NOT NULL,
    filters        TEXT NOT NULL,
    cause          TEXT NOT NULL,
    cron           TEXT NOT NULL,
    deletes        BOOLEAN NOT NULL,
    overrides      BOOLEAN NOT NULL,
    enabled        BOOLEAN NOT NULL,
    single         BOOLEAN NOT NULL,
    by_chunk       BOOLEAN NOT NULL,
    speed          BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX replication_policies_source ON replication_policies (source_id);
CREATE INDEX replication_policies_destination ON replication_policies (destination_id);
CREATE INDEX replication_policies_cause ON replication_policies (cause, id);
