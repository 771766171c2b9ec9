-- Counts of what runs in the background by ranges of ids, and of the artifacts of projects, whose ranges were not told apart; indexes that
-- have all that choosing the rows of a page needs.
-- +goose Up
CREATE INDEX executions_kind ON executions (kind, id);
CREATE INDEX tasks_listed ON tasks (execution_id, kind, id, status);
CREATE INDEX webhook_policies_listed ON webhook_policies (COALESCE(project_id, 0), id);
DROP INDEX deletions_project;
CREATE INDEX deletions_project ON deletions (project_id, id, expires_at) WHERE root_id IS NULL;
DROP INDEX projects_named;
CREATE INDEX projects_named ON projects (name, id, public);

CREATE OR REPLACE VIEW project_parts AS SELECT id, public, name, id AS rowid FROM projects;
CREATE OR REPLACE VIEW user_parts AS SELECT id, deleted_at, name, id AS rowid FROM users;
CREATE OR REPLACE VIEW group_parts AS SELECT id, name, id AS rowid FROM user_groups;
CREATE OR REPLACE VIEW robot_parts AS SELECT id, project_id, name, id AS rowid FROM robots;
CREATE OR REPLACE VIEW label_parts AS SELECT id, project_id, name, id AS rowid FROM labels;
CREATE OR REPLACE VIEW member_parts AS SELECT id, project_id, name, id AS rowid FROM members;
CREATE OR REPLACE VIEW repository_parts AS SELECT id, project_id, name, id AS rowid FROM repositories;

-- +goose StatementBegin
CREATE FUNCTION list_executions() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts AS c (list, owner, part, entries)
    SELECT l.list, 0, e.id / 1024, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed e CROSS JOIN LATERAL (VALUES ('executions'), ('executions of ' || e.kind)) AS l (list) GROUP BY 1, 3 ORDER BY 1, 3
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER executions_listed AFTER INSERT ON executions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_executions();
CREATE TRIGGER executions_unlisted AFTER DELETE ON executions REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_executions();
INSERT INTO list_counts SELECT 'executions', 0, id / 1024, COUNT(*) FROM executions GROUP BY 3;
INSERT INTO list_counts SELECT 'executions of ' || kind, 0, id / 1024, COUNT(*) FROM executions GROUP BY 1, 3;

-- Of the artifacts of a project each range of 16384 ids has 16 counts, of which a transaction changes one.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION list_artifacts() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO list_counts AS c (list, owner, part, entries)
        SELECT 'artifacts', repository_id, id / 1024, COUNT(*) FROM changed WHERE listed GROUP BY 2, 3 ORDER BY 2, 3
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    ELSE -- there are no counts any more when the repository goes with them
        UPDATE list_counts c SET entries = c.entries - g.gone
        FROM (SELECT repository_id, id / 1024 AS part, COUNT(*) AS gone FROM changed WHERE listed GROUP BY 1, 2) AS g
        WHERE c.list = 'artifacts' AND c.owner = g.repository_id AND c.part = g.part;
    END IF;
    INSERT INTO list_counts AS c (list, owner, part, entries)
    SELECT 'artifacts of project', project_id, id / 16384 * 16 + CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) % 16,
        CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed WHERE listed GROUP BY 2, 3 ORDER BY 2, 3
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION relist_artifact() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM count_in_list('artifacts', NEW.repository_id, NEW.id, CASE WHEN NEW.listed THEN 1 ELSE -1 END);
    INSERT INTO list_counts AS c (list, owner, part, entries)
    VALUES ('artifacts of project', NEW.project_id, NEW.id / 16384 * 16 + CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) % 16,
        CASE WHEN NEW.listed THEN 1 ELSE -1 END)
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
DELETE FROM list_counts WHERE list = 'artifacts of project';
INSERT INTO list_counts SELECT 'artifacts of project', project_id, id / 16384 * 16, COUNT(*) FROM artifacts WHERE listed GROUP BY 2, 3;
