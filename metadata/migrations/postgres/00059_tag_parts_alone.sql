-- The index of the parts of tags without the repository: that one of many tags has the part was found by turns in the list of all of its
-- tags, which cost more than the part. Where the tags with the part are more than those of the repository, these are read.
-- +goose Up
DROP INDEX IF EXISTS tags_parts;
-- +goose StatementBegin
DO $$
BEGIN
    CREATE INDEX tags_parts ON tags USING gin (LOWER(name) gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'tags have no index of their parts: %', SQLERRM;
END;
$$;
-- +goose StatementEnd
