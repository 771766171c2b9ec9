-- Counts of lists, by ranges of ids, kept by triggers: the length of a list and the range that a page begins in are known without
-- reading its rows. And indexes for each order that a list is walked in, with all that choosing the rows of a page needs.
-- +goose Up
CREATE TABLE list_counts (
    list    TEXT   NOT NULL,
    owner   BIGINT NOT NULL,
    part    BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    PRIMARY KEY (list, owner, part)
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER users_listed AFTER INSERT ON users WHEN NEW.deleted_at IS NULL BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('users', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_unlisted AFTER DELETE ON users WHEN OLD.deleted_at IS NULL BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('users', 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_relisted AFTER UPDATE ON users WHEN (OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL) BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('users', 0, NEW.id / 1024, CASE WHEN NEW.deleted_at IS NULL THEN 1 ELSE -1 END)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'users', 0, id / 1024, COUNT(*) FROM users WHERE deleted_at IS NULL GROUP BY 2, 3;

-- +goose StatementBegin
CREATE TRIGGER user_groups_listed AFTER INSERT ON user_groups BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('groups', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_groups_unlisted AFTER DELETE ON user_groups BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('groups', 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'groups', 0, id / 1024, COUNT(*) FROM user_groups GROUP BY 2, 3;

-- +goose StatementBegin
CREATE TRIGGER members_listed AFTER INSERT ON members BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('members', NEW.project_id, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER members_unlisted AFTER DELETE ON members BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('members', OLD.project_id, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'members', project_id, id / 1024, COUNT(*) FROM members GROUP BY 2, 3;

-- +goose StatementBegin
CREATE TRIGGER labels_listed AFTER INSERT ON labels BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('labels', COALESCE(NEW.project_id, 0), NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER labels_unlisted AFTER DELETE ON labels BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('labels', COALESCE(OLD.project_id, 0), OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'labels', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM labels GROUP BY 2, 3;

-- +goose StatementBegin
CREATE TRIGGER robots_listed AFTER INSERT ON robots BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('robots', COALESCE(NEW.project_id, 0), NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER robots_unlisted AFTER DELETE ON robots BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('robots', COALESCE(OLD.project_id, 0), OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'robots', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM robots GROUP BY 2, 3;

-- +goose StatementBegin
CREATE TRIGGER projects_listed AFTER INSERT ON projects BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('projects', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_opened AFTER INSERT ON projects WHEN NEW.public BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('public projects', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('public repositories', 0, NEW.id / 1024, NEW.repository_count)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_unlisted AFTER DELETE ON projects BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('projects', 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    DELETE FROM list_counts WHERE list IN ('repositories', 'artifacts of project', 'members', 'labels', 'robots') AND owner = OLD.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_closed AFTER DELETE ON projects WHEN OLD.public BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('public projects', 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('public repositories', 0, OLD.id / 1024, -OLD.repository_count)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_relisted AFTER UPDATE ON projects WHEN OLD.public <> NEW.public OR NEW.public AND OLD.repository_count <> NEW.repository_count BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('public projects', 0, NEW.id / 1024, NEW.public - OLD.public)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('public repositories', 0, NEW.id / 1024, NEW.public * NEW.repository_count - OLD.public * OLD.repository_count)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'projects', 0, id / 1024, COUNT(*) FROM projects GROUP BY 3;
INSERT INTO list_counts SELECT 'public projects', 0, id / 1024, COUNT(*) FROM projects WHERE public GROUP BY 3;
INSERT INTO list_counts SELECT 'public repositories', 0, id / 1024, SUM(repository_count) FROM projects WHERE public GROUP BY 3;

-- +goose StatementBegin
CREATE TRIGGER repositories_listed AFTER INSERT ON repositories BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('repositories', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('repositories', NEW.project_id, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER repositories_unlisted AFTER DELETE ON repositories BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('repositories', 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('repositories', OLD.project_id, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    DELETE FROM list_counts WHERE list = 'artifacts' AND owner = OLD.id;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'repositories', 0, id / 1024, COUNT(*) FROM repositories GROUP BY 3;
INSERT INTO list_counts SELECT 'repositories', project_id, id / 1024, COUNT(*) FROM repositories GROUP BY 2, 3;

-- +goose StatementBegin
CREATE TRIGGER artifacts_listed AFTER INSERT ON artifacts WHEN NEW.listed BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts', NEW.repository_id, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts of project', NEW.project_id, 0 / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_unlisted AFTER DELETE ON artifacts WHEN OLD.listed BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts', OLD.repository_id, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts of project', OLD.project_id, 0 / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_relisted AFTER UPDATE ON artifacts WHEN OLD.listed <> NEW.listed BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts', NEW.repository_id, NEW.id / 1024, NEW.listed - OLD.listed)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('artifacts of project', NEW.project_id, 0 / 1024, NEW.listed - OLD.listed)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'artifacts', repository_id, id / 1024, COUNT(*) FROM artifacts WHERE listed GROUP BY 2, 3;
INSERT INTO list_counts SELECT 'artifacts of project', project_id, 0, COUNT(*) FROM artifacts WHERE listed GROUP BY 2;

CREATE INDEX artifacts_newest ON artifacts (repository_id, id, listed);
CREATE INDEX artifacts_kind ON artifacts (repository_id, kind, id) WHERE listed;
DROP INDEX artifacts_project;
CREATE INDEX artifacts_project ON artifacts (project_id, id) WHERE listed;
CREATE INDEX repositories_named ON repositories (name, id);
CREATE INDEX repositories_view ON repositories (id, project_id);
CREATE INDEX repositories_changed ON repositories (updated_at, id);
CREATE INDEX repositories_project_changed ON repositories (project_id, updated_at, id);
DROP INDEX repositories_project;
CREATE INDEX repositories_project ON repositories (project_id, name, id);
CREATE INDEX projects_named ON projects (name, id);
CREATE INDEX users_present ON users (name, id) WHERE deleted_at IS NULL;
CREATE INDEX user_groups_listed ON user_groups (name, id);
CREATE INDEX robots_newest ON robots (project_id, id);
CREATE INDEX labels_named ON labels (project_id, name, id);

-- Parts of names are found by an index.
CREATE VIRTUAL TABLE repository_parts USING fts5 (name, content = 'repositories', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO repository_parts (repository_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER repositories_named AFTER INSERT ON repositories BEGIN
    INSERT INTO repository_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER repositories_unnamed AFTER DELETE ON repositories BEGIN
    INSERT INTO repository_parts (repository_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
END;
-- +goose StatementEnd
