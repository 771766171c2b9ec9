-- Parts of tags are found by an index. Tags get into it by the thousand, once so many of a repository are not in it: one by one each
-- would cost a tenth of a push. Those that are in it have a number, which begins with the repository's id; the others are looked through.
-- +goose Up
ALTER TABLE tags ADD COLUMN number BIGINT;
CREATE UNIQUE INDEX tags_unnumbered ON tags (repository_id, name, number) WHERE number IS NULL;
CREATE UNIQUE INDEX tags_numbered ON tags (number) WHERE number IS NOT NULL;
CREATE VIEW unnumbered_tags AS SELECT repository_id, name, manifest_id FROM tags INDEXED BY tags_unnumbered WHERE number IS NULL;
CREATE VIEW numbered_tags AS SELECT number, repository_id, name, manifest_id FROM tags WHERE number IS NOT NULL;
CREATE VIRTUAL TABLE tag_parts USING fts5 (name, repository_id UNINDEXED, manifest_id UNINDEXED, content = 'numbered_tags', content_rowid = 'number',
    tokenize = 'trigram', columnsize = 0);

-- +goose StatementBegin
CREATE TRIGGER tags_numbered AFTER UPDATE OF number ON tags BEGIN
    INSERT INTO tag_parts (rowid, name) VALUES (NEW.number, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER tags_unnumbered AFTER DELETE ON tags WHEN OLD.number IS NOT NULL BEGIN
    INSERT INTO tag_parts (tag_parts, rowid, name) VALUES ('delete', OLD.number, OLD.name);
END;
-- +goose StatementEnd
-- One new tag in 32, by chance, looks whether there are so many.
-- +goose StatementBegin
CREATE TRIGGER tags_unnumbered_many AFTER INSERT ON tags
WHEN RANDOM() % 32 = 0 AND EXISTS (SELECT 1 FROM tags INDEXED BY tags_unnumbered WHERE repository_id = NEW.repository_id AND number IS NULL LIMIT 1 OFFSET 1023) BEGIN
    UPDATE tags SET number = n.number FROM (
        SELECT name, ROW_NUMBER() OVER (ORDER BY name) + COALESCE(
            (SELECT MAX(number) FROM tags WHERE number BETWEEN NEW.repository_id * 4294967296 AND NEW.repository_id * 4294967296 + 4294967295),
            NEW.repository_id * 4294967296) AS number
        FROM tags INDEXED BY tags_unnumbered WHERE repository_id = NEW.repository_id AND number IS NULL
    ) AS n WHERE tags.repository_id = NEW.repository_id AND tags.name = n.name;
END;
-- +goose StatementEnd
UPDATE tags SET number = n.number FROM (
    SELECT repository_id, name, ROW_NUMBER() OVER (PARTITION BY repository_id ORDER BY name) + repository_id * 4294967296 AS number
    FROM tags WHERE repository_id IN (SELECT repository_id FROM tags GROUP BY 1 HAVING COUNT(*) > 1024)
) AS n WHERE tags.repository_id = n.repository_id AND tags.name = n.name;
