-- Ranges of the repositories in the orders of their names and of their last changes, so that a page begins in the one that the counts of
-- those before it add up to. Lists of more than 2,048 have them. A range ends where the next begins.
-- +goose Up
CREATE TABLE list_ranges (
    list   TEXT COLLATE "C" NOT NULL,
    owner  BIGINT           NOT NULL,
    name   TEXT COLLATE "C" NOT NULL,
    moment BIGINT           NOT NULL,
    id     BIGINT           NOT NULL,
    part   BIGINT           NOT NULL,
    PRIMARY KEY (list, owner, name, moment, id)
);
CREATE INDEX projects_wide ON projects (id) WHERE repository_count > 2048;

CREATE VIEW repository_places AS
    SELECT 'repositories by name' COLLATE "C" AS list, CAST(0 AS BIGINT) AS owner, name, CAST(0 AS BIGINT) AS moment, CAST(0 AS BIGINT) AS id FROM repositories
    UNION ALL SELECT 'repositories by name' COLLATE "C", project_id, name, 0, 0 FROM repositories
    UNION ALL SELECT 'repositories by change' COLLATE "C", 0, '', updated_at, id FROM repositories
    UNION ALL SELECT 'repositories by change' COLLATE "C", project_id, '', updated_at, id FROM repositories;

-- Who gives a repository its place shares the ranges until the transaction ends, and who changes ranges has them alone.
-- +goose StatementBegin
CREATE FUNCTION count_in_ranges() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('list_ranges', 0));
    IF NOT EXISTS (SELECT FROM list_ranges) THEN
        RETURN NULL;
    END IF;
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT p.list, o.owner, g.part, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed r CROSS JOIN LATERAL (VALUES (0), (r.project_id)) AS o (owner)
    CROSS JOIN LATERAL (VALUES ('repositories by name', r.name, 0, 0), ('repositories by change', '', r.updated_at, r.id)) AS p (list, name, moment, id)
    CROSS JOIN LATERAL (
        SELECT g.part FROM list_ranges g WHERE g.list = p.list AND g.owner = o.owner AND (g.name, g.moment, g.id) <= (p.name, p.moment, p.id)
        ORDER BY g.name DESC, g.moment DESC, g.id DESC LIMIT 1
    ) AS g
    GROUP BY 1, 2, 3;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER repositories_in_ranges AFTER INSERT ON repositories REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_in_ranges();
CREATE TRIGGER repositories_out_of_ranges AFTER DELETE ON repositories REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_in_ranges();
-- +goose StatementBegin
CREATE FUNCTION move_in_ranges() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM come n JOIN gone o ON o.id = n.id WHERE o.updated_at <> n.updated_at) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('list_ranges', 0));
    INSERT INTO list_counts (list, owner, part, entries)
    SELECT 'repositories by change', o.owner, g.part, SUM(r.added)
    FROM (SELECT id, project_id, updated_at, -1 AS added FROM gone UNION ALL SELECT id, project_id, updated_at, 1 FROM come) AS r
    CROSS JOIN LATERAL (VALUES (0), (r.project_id)) AS o (owner)
    CROSS JOIN LATERAL (
        SELECT g.part FROM list_ranges g WHERE g.list = 'repositories by change' AND g.owner = o.owner AND (g.name, g.moment, g.id) <= ('', r.updated_at, r.id)
        ORDER BY g.name DESC, g.moment DESC, g.id DESC LIMIT 1
    ) AS g
    GROUP BY 2, 3 HAVING SUM(r.added) <> 0;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER repositories_moved_in_ranges AFTER UPDATE ON repositories REFERENCING OLD TABLE AS gone NEW TABLE AS come
    FOR EACH STATEMENT EXECUTE FUNCTION move_in_ranges();

-- fit_list_ranges splits ranges that have become long, and makes those of a list anew that has none yet or many with little. It returns
-- how many it has made, 0 while somebody gives a repository its place: it waits for nobody.
-- +goose StatementBegin
CREATE FUNCTION fit_list_ranges() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    last BIGINT := 9223372036854775807;
    used BIGINT;
    made BIGINT;
    total BIGINT := 0;
    misfit RECORD;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('fold_list_counts', 0)) OR NOT pg_try_advisory_xact_lock(hashtextextended('list_ranges', 0)) THEN
        RETURN 0;
    END IF;
    FOR misfit IN
        WITH counts AS (
            SELECT c.list, c.owner, c.part, SUM(c.entries) AS entries FROM list_counts c
            WHERE c.list IN ('repositories by name', 'repositories by change') GROUP BY 1, 2, 3
        ), ranges AS (
            SELECT g.list, g.owner, g.name, g.moment, g.id, COALESCE(c.entries, 0) AS entries,
                LEAD(g.name, 1, '~') OVER places AS next_name, LEAD(g.moment, 1, last) OVER places AS next_moment, LEAD(g.id, 1, last) OVER places AS next_id
            FROM list_ranges g LEFT JOIN counts c ON c.list = g.list AND c.owner = g.owner AND c.part = g.part
            WINDOW places AS (PARTITION BY g.list, g.owner ORDER BY g.name, g.moment, g.id)
        ), owners AS (
            SELECT 0 AS owner WHERE (SELECT SUM(c.entries) FROM list_counts c WHERE c.list = 'repositories' AND c.owner = 0) > 2048
            UNION ALL SELECT p.id FROM projects p WHERE p.repository_count > 2048
        ), whole AS (
            SELECT l.list, o.owner FROM owners o CROSS JOIN (VALUES ('repositories by name'), ('repositories by change')) AS l (list)
            WHERE NOT EXISTS (SELECT FROM list_ranges g WHERE g.list = l.list AND g.owner = o.owner)
            UNION ALL SELECT r.list, r.owner FROM ranges r GROUP BY 1, 2 HAVING COUNT(*) * 256 > SUM(r.entries)
        )
        SELECT w.list, w.owner, '' AS name, 0 AS moment, 0 AS id, '~' AS next_name, last AS next_moment, last AS next_id, TRUE AS whole FROM whole w
        UNION ALL
        SELECT r.list, r.owner, r.name, r.moment, r.id, r.next_name, r.next_moment, r.next_id, FALSE FROM ranges r
        WHERE r.entries > 2048 AND NOT EXISTS (SELECT FROM whole w WHERE w.list = r.list AND w.owner = r.owner)
    LOOP
        SELECT COALESCE(MAX(g.part), 0) INTO used FROM list_ranges g WHERE g.list = misfit.list AND g.owner = misfit.owner;
        WITH gone AS (
            DELETE FROM list_ranges g WHERE g.list = misfit.list AND g.owner = misfit.owner
                AND (g.name, g.moment, g.id) >= (misfit.name, misfit.moment, misfit.id)
                AND (g.name, g.moment, g.id) < (misfit.next_name, misfit.next_moment, misfit.next_id)
            RETURNING g.part
        )
        DELETE FROM list_counts c USING gone WHERE c.list = misfit.list AND c.owner = misfit.owner AND c.part = gone.part;
        WITH places AS (
            SELECT p.name, p.moment, p.id, COUNT(*) OVER () AS entries FROM repository_places p
            WHERE p.list = misfit.list AND p.owner = misfit.owner
                AND p.name >= misfit.name AND p.name <= misfit.next_name AND p.moment >= misfit.moment AND p.moment <= misfit.next_moment
                AND (p.name, p.moment, p.id) >= (misfit.name, misfit.moment, misfit.id)
                AND (p.name, p.moment, p.id) < (misfit.next_name, misfit.next_moment, misfit.next_id)
        ), dealt AS (
            SELECT p.name, p.moment, p.id, NTILE(CAST(p.entries / 1024 AS INTEGER)) OVER (ORDER BY p.name, p.moment, p.id) AS part
            FROM places p WHERE p.entries >= 1024
        ), ranges AS (
            SELECT DISTINCT ON (d.part) d.part, d.name, d.moment, d.id, COUNT(*) OVER (PARTITION BY d.part) AS entries
            FROM dealt d ORDER BY d.part, d.name, d.moment, d.id
        ), added AS (
            INSERT INTO list_ranges (list, owner, name, moment, id, part)
            SELECT misfit.list, misfit.owner,
                CASE r.part WHEN 1 THEN misfit.name ELSE r.name END, CASE r.part WHEN 1 THEN misfit.moment ELSE r.moment END,
                CASE r.part WHEN 1 THEN misfit.id ELSE r.id END, used + r.part
            FROM ranges r
        )
        INSERT INTO list_counts (list, owner, part, entries, fresh)
        SELECT misfit.list, misfit.owner, used + r.part, r.entries, FALSE FROM ranges r;
        GET DIAGNOSTICS made = ROW_COUNT;
        total := total + made;
    END LOOP;
    RETURN total;
END;
$$;
-- +goose StatementEnd
SELECT fit_list_ranges();
