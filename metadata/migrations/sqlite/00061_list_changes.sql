-- Whether a count is one of changes that the row with the count of before does not have yet. Here there is one writer, and none are.
-- +goose Up
ALTER TABLE list_counts ADD COLUMN fresh BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX list_counts_fresh ON list_counts (list, owner, part) WHERE fresh;
