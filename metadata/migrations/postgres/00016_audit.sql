-- Who follows the events, and what of them is kept for people to read.
-- +goose Up
ALTER TABLE events ADD COLUMN attempt TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN project_id BIGINT;

-- Each follower has read the events up to its place; the holder of the lease is the one gateway that reads on.
CREATE TABLE followers (
    name           TEXT COLLATE "C"   NOT NULL PRIMARY KEY,
    transaction_id BIGINT NOT NULL,
    event_id       BIGINT NOT NULL,
    holder         TEXT COLLATE "C"   NOT NULL,
    lease_until    BIGINT NOT NULL
);

-- An entry has the id of its event. The project is 0 for what is about none.
CREATE TABLE audit_entries (
    id            BIGINT  NOT NULL PRIMARY KEY,
    project_id    BIGINT  NOT NULL,
    operation     TEXT COLLATE "C"    NOT NULL,
    resource_type TEXT COLLATE "C"    NOT NULL,
    resource      TEXT COLLATE "C"    NOT NULL,
    username      TEXT COLLATE "C"    NOT NULL,
    credential    TEXT COLLATE "C"    NOT NULL,
    address       TEXT COLLATE "C"    NOT NULL,
    request_id    TEXT COLLATE "C"    NOT NULL,
    description   TEXT COLLATE "C"    NOT NULL,
    succeeded     BOOLEAN NOT NULL,
    occurred_at   BIGINT  NOT NULL
);
CREATE INDEX audit_entries_project ON audit_entries (project_id, id);
CREATE INDEX audit_entries_username ON audit_entries (username, id);
CREATE INDEX audit_entries_operation ON audit_entries (operation, id);
CREATE INDEX audit_entries_resource_type ON audit_entries (resource_type, id);
CREATE INDEX audit_entries_resource ON audit_entries (resource, id);

-- How many entries there are in each range of ids, of each project and, as project 0, of all; and when they are from.
CREATE TABLE audit_buckets (
    project_id BIGINT NOT NULL,
    bucket     BIGINT NOT NULL,
    entries    BIGINT NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    PRIMARY KEY (project_id, bucket)
);
