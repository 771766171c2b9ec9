-- When a repository last changed. Who pushes adds the time to the row with the difference of its artifacts, which it adds anyway; who
-- changes its tags adds a row with the time alone. Folding such rows brings the latest into the repository.
-- +goose Up
ALTER TABLE list_counts ADD COLUMN changed_at BIGINT;

UPDATE repositories SET updated_at = c.changed_at FROM (
    SELECT repository_id, MAX(changed_at) AS changed_at FROM (
        SELECT repository_id, COALESCE(pushed_at, created_at) AS changed_at FROM artifacts
        UNION ALL SELECT repository_id, updated_at FROM tags) AS changes
    GROUP BY 1) AS c
WHERE c.repository_id = repositories.id AND c.changed_at > repositories.updated_at;

CREATE VIEW repository_changes AS
    SELECT id AS repository_id, updated_at AS changed_at FROM repositories
    UNION ALL SELECT owner, changed_at FROM list_counts WHERE list = 'artifacts of repository';
-- +goose StatementBegin
CREATE FUNCTION note_repository_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts (list, owner, part, entries, changed_at) VALUES ('artifacts of repository', NEW.repository_id, 0, 0, NEW.changed_at);
    RETURN NEW;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER repository_changes_noted INSTEAD OF INSERT ON repository_changes FOR EACH ROW EXECUTE FUNCTION note_repository_change();

-- +goose StatementBegin
CREATE FUNCTION note_push_again() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts (list, owner, part, entries, changed_at) VALUES ('artifacts of repository', NEW.repository_id, 0, 0, NEW.pushed_at);
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER artifacts_pushed_again AFTER UPDATE OF pushed_at ON artifacts FOR EACH ROW EXECUTE FUNCTION note_push_again();

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_artifacts() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    inserted BOOLEAN := TG_OP = 'INSERT';
BEGIN
    INSERT INTO list_counts (list, owner, part, entries, changed_at)
    SELECT l.list, l.owner, l.part, CASE WHEN inserted THEN 1 ELSE -1 END * COUNT(*) FILTER (WHERE a.listed), MAX(l.changed_at)
    FROM changed a CROSS JOIN LATERAL (VALUES
        ('artifacts', a.repository_id, a.id / 1024, NULL, a.listed),
        ('artifacts of repository', a.repository_id, 0, a.created_at, a.listed OR inserted),
        ('artifacts of project', a.project_id, a.id / 16384 * 16, NULL, a.listed)
    ) AS l (list, owner, part, changed_at, counts)
    WHERE l.counts GROUP BY 1, 2, 3;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION fold_list_counts(most BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    taken TID[];
    nothing RECORD;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('fold_list_counts', 0)) THEN
        RETURN 0;
    END IF;
    taken := ARRAY(SELECT c.ctid FROM list_counts c WHERE c.fresh ORDER BY c.list, c.owner, c.part LIMIT most FOR UPDATE SKIP LOCKED);
    FOR nothing IN
        WITH gone AS (
            DELETE FROM list_counts c WHERE c.ctid = ANY(taken) RETURNING c.list, c.owner, c.part, c.entries, c.changed_at
        ), changes AS (
            SELECT g.list, g.owner, g.part, SUM(g.entries) AS entries, MAX(g.changed_at) AS changed_at FROM gone g GROUP BY 1, 2, 3
        ), repositories_folded AS (
            UPDATE repositories r SET artifact_count = r.artifact_count + s.entries, updated_at = GREATEST(r.updated_at, s.changed_at)
            FROM changes s WHERE s.list = 'artifacts of repository' AND r.id = s.owner AND (s.entries <> 0 OR s.changed_at > r.updated_at)
        ), projects_folded AS (
            UPDATE projects p SET repository_count = p.repository_count + s.entries
            FROM changes s WHERE s.list = 'repositories of project' AND s.entries <> 0 AND p.id = s.owner
        ), folded AS (
            INSERT INTO list_counts AS c (list, owner, part, entries, fresh)
            SELECT s.list, s.owner, s.part, s.entries, FALSE FROM changes s WHERE s.list NOT IN ('artifacts of repository', 'repositories of project')
            ON CONFLICT (list, owner, part) WHERE NOT fresh DO UPDATE SET entries = c.entries + excluded.entries
            RETURNING c.list, c.owner, c.part, c.entries
        )
        SELECT f.list, f.owner, f.part FROM folded f WHERE f.entries = 0
    LOOP
        DELETE FROM list_counts c WHERE c.list = nothing.list AND c.owner = nothing.owner AND c.part = nothing.part AND NOT c.fresh;
    END LOOP;
    RETURN CARDINALITY(taken);
END;
$$;
-- +goose StatementEnd
