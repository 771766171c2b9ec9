-- What lists need so that a page costs the same however much there is: the names of members where they are sorted, an index of the
-- parts of all names, the pairs of fields that the audit log is filtered by, and sums that nobody has to add up.
-- +goose Up
ALTER TABLE members ADD COLUMN name TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE members SET name = COALESCE((SELECT u.name FROM users u WHERE u.id = user_id), (SELECT g.name FROM user_groups g WHERE g.id = group_id), '');
CREATE INDEX members_named ON members (project_id, name, id);
-- +goose StatementBegin
CREATE FUNCTION name_member() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.user_id IS NOT NULL THEN -- the lock makes it wait for who renames them
        SELECT u.name INTO NEW.name FROM users u WHERE u.id = NEW.user_id FOR SHARE;
    ELSE
        SELECT g.name INTO NEW.name FROM user_groups g WHERE g.id = NEW.group_id FOR SHARE;
    END IF;
    NEW.name := COALESCE(NEW.name, '');
    RETURN NEW;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER members_named BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION name_member();
-- +goose StatementBegin
CREATE FUNCTION rename_members() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        UPDATE members SET name = NEW.name WHERE user_id = NEW.id;
    ELSE
        UPDATE members SET name = NEW.name WHERE group_id = NEW.id;
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER users_renamed AFTER UPDATE OF name ON users FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION rename_members();
CREATE TRIGGER user_groups_renamed AFTER UPDATE OF name ON user_groups FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION rename_members();

DROP VIEW repository_parts;
DROP INDEX IF EXISTS repositories_parts;
CREATE VIEW project_parts AS SELECT id, public, name FROM projects;
CREATE VIEW user_parts AS SELECT id, deleted_at, name FROM users;
CREATE VIEW group_parts AS SELECT id, name FROM user_groups;
CREATE VIEW robot_parts AS SELECT id, project_id, name FROM robots;
CREATE VIEW label_parts AS SELECT id, project_id, name FROM labels;
CREATE VIEW member_parts AS SELECT id, project_id, name FROM members;
CREATE VIEW repository_parts AS SELECT id, project_id, name FROM repositories;
-- +goose StatementBegin
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE EXTENSION IF NOT EXISTS btree_gin;
    CREATE INDEX projects_parts ON projects USING gin (name gin_trgm_ops);
    CREATE INDEX users_parts ON users USING gin (name gin_trgm_ops);
    CREATE INDEX user_groups_parts ON user_groups USING gin (name gin_trgm_ops);
    CREATE INDEX robots_parts ON robots USING gin (project_id, name gin_trgm_ops);
    CREATE INDEX labels_parts ON labels USING gin (project_id, name gin_trgm_ops);
    CREATE INDEX members_parts ON members USING gin (project_id, name gin_trgm_ops);
    CREATE INDEX repositories_parts ON repositories USING gin (project_id, name gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'names have no index of their parts: %', SQLERRM;
END;
$$;
-- +goose StatementEnd

CREATE INDEX audit_entries_user_operation ON audit_entries (username, operation, id);
CREATE INDEX audit_entries_project_operation ON audit_entries (project_id, operation, id);
CREATE INDEX audit_entries_project_user ON audit_entries (project_id, username, id);

-- Members by their roles.
-- +goose StatementBegin
CREATE FUNCTION list_roles() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE list_counts SET entries = entries - 1 WHERE list = 'members in role' AND owner = OLD.project_id AND part = OLD.role_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO list_counts AS c (list, owner, part, entries) VALUES ('members in role', NEW.project_id, NEW.role_id, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + 1;
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER members_in_role AFTER INSERT OR DELETE ON members FOR EACH ROW EXECUTE FUNCTION list_roles();
CREATE TRIGGER members_change_role AFTER UPDATE ON members FOR EACH ROW WHEN (OLD.role_id <> NEW.role_id) EXECUTE FUNCTION list_roles();
INSERT INTO list_counts SELECT 'members in role', project_id, role_id, COUNT(*) FROM members GROUP BY 2, 3;

-- The bytes of all blobs, in 64 parts of which a transaction changes one.
-- +goose StatementBegin
CREATE FUNCTION sum_blobs() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts AS c (list, owner, part, entries)
    SELECT 'stored bytes', 0, CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) % 64, CASE TG_OP WHEN 'INSERT' THEN SUM(size) ELSE -SUM(size) END
    FROM changed HAVING COUNT(*) > 0
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER blobs_added AFTER INSERT ON blobs REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sum_blobs();
CREATE TRIGGER blobs_removed AFTER DELETE ON blobs REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION sum_blobs();
INSERT INTO list_counts SELECT 'stored bytes', 0, 0, COALESCE(SUM(size), 0) FROM blobs;

-- The bytes that all projects together use: the shards of many projects share a part, those of one have each their own.
-- +goose StatementBegin
CREATE FUNCTION sum_usage() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    project BIGINT;
    number BIGINT;
    added BIGINT := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        project := OLD.project_id; number := OLD.shard; added := -OLD.used;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        project := NEW.project_id; number := NEW.shard; added := added + NEW.used;
    END IF;
    INSERT INTO list_counts AS c (list, owner, part, entries) VALUES ('used bytes', 0, project % 64 * 16 + number, added)
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER usage_added AFTER INSERT ON project_usage FOR EACH ROW WHEN (NEW.used <> 0) EXECUTE FUNCTION sum_usage();
CREATE TRIGGER usage_changed AFTER UPDATE ON project_usage FOR EACH ROW WHEN (OLD.used <> NEW.used) EXECUTE FUNCTION sum_usage();
CREATE TRIGGER usage_removed AFTER DELETE ON project_usage FOR EACH ROW WHEN (OLD.used <> 0) EXECUTE FUNCTION sum_usage();
INSERT INTO list_counts SELECT 'used bytes', 0, project_id % 64 * 16 + shard, SUM(used) FROM project_usage GROUP BY 3;

-- XX
-- is public is looked at when its row is locked, because it has been counted in it.
-- +goose StatementBegin
CREATE FUNCTION list_open_repositories() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts AS c (list, owner, part, entries)
    SELECT 'repositories in public', 0, r.id / 1024, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed r JOIN projects p ON p.id = r.project_id WHERE p.public GROUP BY 3 ORDER BY 3
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER repositories_open AFTER INSERT ON repositories REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_open_repositories();
CREATE TRIGGER repositories_shut AFTER DELETE ON repositories REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_open_repositories();
-- +goose StatementBegin
CREATE FUNCTION open_repositories() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts AS c (list, owner, part, entries)
    SELECT 'repositories in public', 0, id / 1024, CASE WHEN NEW.public THEN COUNT(*) ELSE -COUNT(*) END
    FROM repositories WHERE project_id = NEW.id GROUP BY 3 ORDER BY 3
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER projects_opened AFTER UPDATE ON projects FOR EACH ROW WHEN (OLD.public <> NEW.public) EXECUTE FUNCTION open_repositories();
INSERT INTO list_counts SELECT 'repositories in public', 0, r.id / 1024, COUNT(*) FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.public GROUP BY 3;

-- What a project has no counts of any more when it is gone.
-- +goose StatementBegin
CREATE FUNCTION forget_roles() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM list_counts WHERE list = 'members in role' AND owner = OLD.id;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER projects_without_roles AFTER DELETE ON projects FOR EACH ROW EXECUTE FUNCTION forget_roles();
