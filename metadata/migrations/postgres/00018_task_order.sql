-- Tasks of a kind are done in the order in which they are due: what is more urgent is another kind.
-- +goose Up
ALTER TABLE tasks DROP COLUMN priority;
