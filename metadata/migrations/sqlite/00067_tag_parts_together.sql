-- Tags get into the index of their parts by the thousand of all repositories together: with a thousand of each to look through, a search in
-- a project of many repositories would look through all that it has.
-- +goose Up
DROP TRIGGER tags_unnumbered_many;
-- +goose StatementBegin
CREATE TRIGGER tags_unnumbered_many AFTER INSERT ON tags
WHEN RANDOM() % 32 = 0 AND EXISTS (SELECT 1 FROM tags INDEXED BY tags_unnumbered WHERE number IS NULL LIMIT 1 OFFSET 1023) BEGIN
    UPDATE tags SET number = n.number FROM (
        SELECT u.repository_id, u.name, ROW_NUMBER() OVER (PARTITION BY u.repository_id ORDER BY u.name) + COALESCE(
            (SELECT MAX(t.number) FROM tags t WHERE t.number BETWEEN u.repository_id * 4294967296 AND u.repository_id * 4294967296 + 4294967295),
            u.repository_id * 4294967296) AS number
        FROM tags u INDEXED BY tags_unnumbered WHERE u.number IS NULL
    ) AS n WHERE tags.repository_id = n.repository_id AND tags.name = n.name;
END;
-- +goose StatementEnd
UPDATE tags SET number = n.number FROM (
    SELECT u.repository_id, u.name, ROW_NUMBER() OVER (PARTITION BY u.repository_id ORDER BY u.name) + COALESCE(
        (SELECT MAX(t.number) FROM tags t WHERE t.number BETWEEN u.repository_id * 4294967296 AND u.repository_id * 4294967296 + 4294967295),
        u.repository_id * 4294967296) AS number
    FROM tags u WHERE u.number IS NULL AND (SELECT COUNT(*) FROM tags WHERE number IS NULL) > 1024
) AS n WHERE tags.repository_id = n.repository_id AND tags.name = n.name;
