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

-- +goose StatementBegin
CREATE TRIGGER executions_listed AFTER INSERT ON executions BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('executions', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('executions of ' || NEW.kind, 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER executions_unlisted AFTER DELETE ON executions BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('executions', 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('executions of ' || OLD.kind, 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'executions', 0, id / 1024, COUNT(*) FROM executions GROUP BY 3;
INSERT INTO list_counts SELECT 'executions of ' || kind, 0, id / 1024, COUNT(*) FROM executions GROUP BY 1, 3;

-- The artifacts of a project are counted by ranges of 16384 ids.
DROP TRIGGER artifacts_listed;
DROP TRIGGER artifacts_unlisted;
DROP TRIGGER artifacts_relisted;
-- +goose StatementBegin
CREATE TRIGGER artifacts_listed AFTER INSERT ON artifacts WHEN NEW.listed BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts', NEW.repository_id, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts of project', NEW.project_id, NEW.id / 16384 * 16, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_unlisted AFTER DELETE ON artifacts WHEN OLD.listed BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts', OLD.repository_id, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts of project', OLD.project_id, OLD.id / 16384 * 16, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_relisted AFTER UPDATE ON artifacts WHEN OLD.listed <> NEW.listed BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts', NEW.repository_id, NEW.id / 1024, NEW.listed - OLD.listed)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts of project', NEW.project_id, NEW.id / 16384 * 16, NEW.listed - OLD.listed)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
DELETE FROM list_counts WHERE list = 'artifacts of project';
INSERT INTO list_counts SELECT 'artifacts of project', project_id, id / 16384 * 16, COUNT(*) FROM artifacts WHERE listed GROUP BY 2, 3;
