-- The registry elsewhere that a project is a cache of.
-- +goose Up
ALTER TABLE projects ADD COLUMN registry_id BIGINT REFERENCES registries (id);
CREATE INDEX projects_registry ON projects (registry_id, name) WHERE registry_id IS NOT NULL;
