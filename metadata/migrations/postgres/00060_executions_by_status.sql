-- Executions of a kind by their status: a page of those that failed among many that did not.
-- +goose Up
CREATE INDEX executions_status ON executions (kind, status, id);
