-- Counts of what is configured and of deletions, by ranges of ids; and the tasks of an execution by their status.
-- +goose Up
DROP INDEX tasks_listed;
CREATE INDEX tasks_listed ON tasks (execution_id, kind, id);
CREATE INDEX tasks_status ON tasks (execution_id, kind, status, id);

-- +goose StatementBegin
CREATE TRIGGER registries_listed AFTER INSERT ON registries BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('registries', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER registries_unlisted AFTER DELETE ON registries BEGIN
    UPDATE list_counts SET entries = entries - 1 WHERE list = 'registries' AND owner = 0 AND part = OLD.id / 1024;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'registries', 0, id / 1024, COUNT(*) FROM registries GROUP BY 3;
-- +goose StatementBegin
CREATE TRIGGER replication_policies_listed AFTER INSERT ON replication_policies BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('replication policies', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER replication_policies_unlisted AFTER DELETE ON replication_policies BEGIN
    UPDATE list_counts SET entries = entries - 1 WHERE list = 'replication policies' AND owner = 0 AND part = OLD.id / 1024;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'replication policies', 0, id / 1024, COUNT(*) FROM replication_policies GROUP BY 3;
-- +goose StatementBegin
CREATE TRIGGER schedules_listed AFTER INSERT ON schedules BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('schedules', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER schedules_unlisted AFTER DELETE ON schedules BEGIN
    UPDATE list_counts SET entries = entries - 1 WHERE list = 'schedules' AND owner = 0 AND part = OLD.id / 1024;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'schedules', 0, id / 1024, COUNT(*) FROM schedules GROUP BY 3;
-- +goose StatementBegin
CREATE TRIGGER webhook_policies_listed AFTER INSERT ON webhook_policies BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('webhooks', COALESCE(NEW.project_id, 0), NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER webhook_policies_unlisted AFTER DELETE ON webhook_policies BEGIN
    UPDATE list_counts SET entries = entries - 1 WHERE list = 'webhooks' AND owner = COALESCE(OLD.project_id, 0) AND part = OLD.id / 1024;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'webhooks', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM webhook_policies GROUP BY 2, 3;
-- +goose StatementBegin
CREATE TRIGGER projects_without_webhooks AFTER DELETE ON projects BEGIN
    DELETE FROM list_counts WHERE list = 'webhooks' AND owner = OLD.id;
END;
-- +goose StatementEnd

-- The deletions of a project are counted by ranges of 4096 ids. A deletion may be there for longer than its project.
-- +goose StatementBegin
CREATE TRIGGER deletions_listed AFTER INSERT ON deletions WHEN NEW.root_id IS NULL BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('deletions', NEW.project_id, NEW.id / 4096 * 4, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER deletions_unlisted AFTER DELETE ON deletions WHEN OLD.root_id IS NULL BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('deletions', OLD.project_id, OLD.id / 4096 * 4, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'deletions', project_id, id / 4096 * 4, COUNT(*) FROM deletions WHERE root_id IS NULL GROUP BY 2, 3;
