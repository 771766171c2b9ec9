-- Counts of lists without locks: who changes a list adds a row with the difference, so that nobody waits for another's transaction, and
-- a count is the sum of its rows. From time to time the fresh rows of a count are folded into one.
-- +goose Up
ALTER TABLE list_counts DROP CONSTRAINT list_counts_pkey;
ALTER TABLE list_counts ADD COLUMN fresh BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE list_counts ALTER COLUMN fresh SET DEFAULT TRUE;
ALTER TABLE list_counts SET (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX list_counts_sum ON list_counts (list, owner, part);
CREATE UNIQUE INDEX list_counts_folded ON list_counts (list, owner, part) WHERE NOT fresh;
CREATE INDEX list_counts_fresh ON list_counts (list, owner, part) WHERE fresh;

-- fold_list_counts folds up to as many fresh rows and returns how many, 0 while somebody else does. What repositories and projects have
-- goes into their own rows.
-- +goose StatementBegin
CREATE FUNCTION fold_list_counts(most BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
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
            DELETE FROM list_counts c WHERE c.ctid = ANY(taken) RETURNING c.list, c.owner, c.part, c.entries
        ), changes AS (
            SELECT g.list, g.owner, g.part, SUM(g.entries) AS entries FROM gone g GROUP BY 1, 2, 3
        ), repositories_folded AS (
            UPDATE repositories r SET artifact_count = r.artifact_count + s.entries
            FROM changes s WHERE s.list = 'artifacts of repository' AND s.entries <> 0 AND r.id = s.owner
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

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION count_in_list(list TEXT, owner BIGINT, id BIGINT, added BIGINT) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO list_counts (list, owner, part, entries) VALUES ($1, $2, $3 / 1024, $4);
$$;
-- +goose StatementEnd

DROP TRIGGER artifacts_inserted ON artifacts;
DROP TRIGGER artifacts_deleted ON artifacts;
DROP TRIGGER artifacts_updated ON artifacts;
DROP FUNCTION count_artifacts();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_artifacts() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT l.list, l.owner, l.part, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed a CROSS JOIN LATERAL (VALUES
        ('artifacts', a.repository_id, a.id / 1024),
        ('artifacts of repository', a.repository_id, 0),
        ('artifacts of project', a.project_id, a.id / 16384 * 16)
    ) AS l (list, owner, part)
    WHERE a.listed GROUP BY 1, 2, 3;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION relist_artifact() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    added BIGINT := CASE WHEN NEW.listed THEN 1 ELSE -1 END;
BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES
        ('artifacts', NEW.repository_id, NEW.id / 1024, added),
        ('artifacts of repository', NEW.repository_id, 0, added),
        ('artifacts of project', NEW.project_id, NEW.id / 16384 * 16, added);
    RETURN NULL;
END;
$$;
-- +goose StatementEnd

-- Who makes a project public, or no longer, waits for those who make or delete repositories in it, and they for who does.
DROP TRIGGER repositories_inserted ON repositories;
DROP TRIGGER repositories_deleted ON repositories;
DROP FUNCTION count_repositories();
DROP TRIGGER repositories_open ON repositories;
DROP TRIGGER repositories_shut ON repositories;
DROP FUNCTION list_open_repositories();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_repositories() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM projects p WHERE p.id IN (SELECT r.project_id FROM changed r) ORDER BY p.id FOR SHARE;
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT l.list, l.owner, l.part, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed r LEFT JOIN projects p ON p.id = r.project_id CROSS JOIN LATERAL (VALUES
        ('repositories', 0, r.id / 1024, TRUE),
        ('repositories', r.project_id, r.id / 1024, TRUE),
        ('repositories of project', r.project_id, 0, TRUE),
        ('repositories in public', 0, r.id / 1024, p.public),
        ('public repositories', 0, r.project_id / 1024, p.public)
    ) AS l (list, owner, part, counts)
    WHERE l.counts GROUP BY 1, 2, 3;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION open_repositories() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT l.list, 0, l.part, CASE WHEN NEW.public THEN COUNT(*) ELSE -COUNT(*) END
    FROM repositories r CROSS JOIN LATERAL (VALUES
        ('repositories in public', r.id / 1024),
        ('public repositories', r.project_id / 1024)
    ) AS l (list, part)
    WHERE r.project_id = NEW.id GROUP BY 1, 3;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
DROP TRIGGER projects_relisted ON projects;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_projects() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM count_in_list('projects', 0, NEW.id, 1);
    ELSIF OLD.public THEN
        PERFORM count_in_list('public projects', 0, OLD.id, -1);
    END IF;
    IF TG_OP = 'DELETE' THEN
        PERFORM count_in_list('projects', 0, OLD.id, -1);
    ELSIF NEW.public THEN
        PERFORM count_in_list('public projects', 0, NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER projects_relisted AFTER UPDATE ON projects FOR EACH ROW WHEN (OLD.public <> NEW.public) EXECUTE FUNCTION list_projects();
DROP TRIGGER projects_without_roles ON projects;
DROP FUNCTION forget_roles();
DROP TRIGGER projects_without_webhooks ON projects;
DROP FUNCTION forget_webhooks();

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_roles() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO list_counts (list, owner, part, entries) VALUES ('members in role', OLD.project_id, OLD.role_id, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO list_counts (list, owner, part, entries) VALUES ('members in role', NEW.project_id, NEW.role_id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION sum_blobs() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT 'stored bytes', 0, 0, CASE TG_OP WHEN 'INSERT' THEN SUM(size) ELSE -SUM(size) END FROM changed HAVING COUNT(*) > 0;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION sum_usage() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    added BIGINT := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        added := -OLD.used;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        added := added + NEW.used;
    END IF;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('used bytes', 0, 0, added);
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_executions() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT l.list, 0, e.id / 1024, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed e CROSS JOIN LATERAL (VALUES ('executions'), ('executions of ' || e.kind)) AS l (list) GROUP BY 1, 3;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_deletions() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT 'deletions', project_id, id / 4096 * 4, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed WHERE root_id IS NULL GROUP BY 2, 3;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd

-- What was spread over rows of several transactions.
WITH spread AS (
    DELETE FROM list_counts WHERE list IN ('artifacts of project', 'deletions', 'stored bytes', 'used bytes') RETURNING list, owner, part, entries
)
INSERT INTO list_counts (list, owner, part, entries, fresh)
SELECT list, owner, CASE list WHEN 'artifacts of project' THEN part / 16 * 16 WHEN 'deletions' THEN part / 4 * 4 ELSE 0 END, SUM(entries), FALSE
FROM spread GROUP BY 1, 2, 3;
