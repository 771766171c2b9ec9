-- SQLite has an index of the parts of tags that not all of them are in. Here they are found by that of the table.
-- +goose Up
CREATE VIEW unnumbered_tags AS SELECT repository_id, name, manifest_id FROM tags;
CREATE VIEW tag_parts AS SELECT CAST(NULL AS BIGINT) AS rowid, repository_id, name, manifest_id FROM tags WHERE FALSE;
