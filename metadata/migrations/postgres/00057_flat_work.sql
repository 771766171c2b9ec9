-- Counts of what is configured and of deletions, by ranges of ids; and the tasks of an execution by their status.
-- +goose Up
CREATE INDEX replication_policies_listed ON replication_policies (name, id);
CREATE INDEX registries_listed ON registries (name, id);
DROP INDEX tasks_listed;
CREATE INDEX tasks_listed ON tasks (execution_id, kind, id);
CREATE INDEX tasks_status ON tasks (execution_id, kind, status, id);

-- +goose StatementBegin
CREATE FUNCTION list_configured() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM count_in_list(TG_ARGV[0], 0, OLD.id, -1);
    ELSE
        PERFORM count_in_list(TG_ARGV[0], 0, NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER registries_listed AFTER INSERT OR DELETE ON registries FOR EACH ROW EXECUTE FUNCTION list_configured('registries');
CREATE TRIGGER replication_policies_listed AFTER INSERT OR DELETE ON replication_policies FOR EACH ROW EXECUTE FUNCTION list_configured('replication policies');
CREATE TRIGGER schedules_listed AFTER INSERT OR DELETE ON schedules FOR EACH ROW EXECUTE FUNCTION list_configured('schedules');
INSERT INTO list_counts SELECT 'registries', 0, id / 1024, COUNT(*) FROM registries GROUP BY 3;
INSERT INTO list_counts SELECT 'replication policies', 0, id / 1024, COUNT(*) FROM replication_policies GROUP BY 3;
INSERT INTO list_counts SELECT 'schedules', 0, id / 1024, COUNT(*) FROM schedules GROUP BY 3;

-- +goose StatementBegin
CREATE FUNCTION list_webhooks() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM count_in_list('webhooks', COALESCE(OLD.project_id, 0), OLD.id, -1);
    ELSE
        PERFORM count_in_list('webhooks', COALESCE(NEW.project_id, 0), NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER webhook_policies_listed AFTER INSERT OR DELETE ON webhook_policies FOR EACH ROW EXECUTE FUNCTION list_webhooks();
INSERT INTO list_counts SELECT 'webhooks', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM webhook_policies GROUP BY 2, 3;
-- +goose StatementBegin
CREATE FUNCTION forget_webhooks() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM list_counts WHERE list = 'webhooks' AND owner = OLD.id;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER projects_without_webhooks AFTER DELETE ON projects FOR EACH ROW EXECUTE FUNCTION forget_webhooks();

-- Of the deletions of a project each range of 4096 ids has 4 counts, of which a transaction changes one: those who delete in several
-- repositories do not queue for one row. A deletion may be there for longer than its project.
-- +goose StatementBegin
CREATE FUNCTION list_deletions() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts AS c (list, owner, part, entries)
    SELECT 'deletions', project_id, id / 4096 * 4 + CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) % 4, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed WHERE root_id IS NULL GROUP BY 2, 3 ORDER BY 2, 3
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER deletions_listed AFTER INSERT ON deletions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_deletions();
CREATE TRIGGER deletions_unlisted AFTER DELETE ON deletions REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_deletions();
INSERT INTO list_counts SELECT 'deletions', project_id, id / 4096 * 4, COUNT(*) FROM deletions WHERE root_id IS NULL GROUP BY 2, 3;
