-- Counts of lists, by ranges of ids, kept by triggers: the length of a list and the range that a page begins in are known without
-- reading its rows. And indexes for each order that a list is walked in, with all that choosing the rows of a page needs.
-- +goose Up
CREATE TABLE list_counts (
    list    TEXT COLLATE "C" NOT NULL,
    owner   BIGINT NOT NULL,
    part    BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    PRIMARY KEY (list, owner, part)
) WITH (fillfactor = 50);

-- +goose StatementBegin
CREATE FUNCTION count_in_list(list TEXT, owner BIGINT, id BIGINT, added BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    IF added < 0 THEN -- there are no counts any more when the owner goes as well
        UPDATE list_counts c SET entries = c.entries + added
        WHERE c.list = count_in_list.list AND c.owner = count_in_list.owner AND c.part = count_in_list.id / 1024;
        RETURN;
    END IF;
    INSERT INTO list_counts AS c (list, owner, part, entries) VALUES (list, owner, id / 1024, added)
    ON CONFLICT ON CONSTRAINT list_counts_pkey DO UPDATE SET entries = c.entries + excluded.entries;
END;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION list_users() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.deleted_at IS NULL THEN
        PERFORM count_in_list('users', 0, OLD.id, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.deleted_at IS NULL THEN
        PERFORM count_in_list('users', 0, NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER users_listed AFTER INSERT OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION list_users();
CREATE TRIGGER users_relisted AFTER UPDATE ON users FOR EACH ROW WHEN ((OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL)) EXECUTE FUNCTION list_users();
INSERT INTO list_counts SELECT 'users', 0, id / 1024, COUNT(*) FROM users WHERE deleted_at IS NULL GROUP BY 2, 3;

-- +goose StatementBegin
CREATE FUNCTION list_user_groups() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM count_in_list('groups', 0, OLD.id, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM count_in_list('groups', 0, NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER user_groups_listed AFTER INSERT OR DELETE ON user_groups FOR EACH ROW EXECUTE FUNCTION list_user_groups();
INSERT INTO list_counts SELECT 'groups', 0, id / 1024, COUNT(*) FROM user_groups GROUP BY 2, 3;

-- +goose StatementBegin
CREATE FUNCTION list_members() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM count_in_list('members', OLD.project_id, OLD.id, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM count_in_list('members', NEW.project_id, NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER members_listed AFTER INSERT OR DELETE ON members FOR EACH ROW EXECUTE FUNCTION list_members();
INSERT INTO list_counts SELECT 'members', project_id, id / 1024, COUNT(*) FROM members GROUP BY 2, 3;

-- +goose StatementBegin
CREATE FUNCTION list_labels() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM count_in_list('labels', COALESCE(OLD.project_id, 0), OLD.id, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM count_in_list('labels', COALESCE(NEW.project_id, 0), NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER labels_listed AFTER INSERT OR DELETE ON labels FOR EACH ROW EXECUTE FUNCTION list_labels();
INSERT INTO list_counts SELECT 'labels', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM labels GROUP BY 2, 3;

-- +goose StatementBegin
CREATE FUNCTION list_robots() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM count_in_list('robots', COALESCE(OLD.project_id, 0), OLD.id, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM count_in_list('robots', COALESCE(NEW.project_id, 0), NEW.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER robots_listed AFTER INSERT OR DELETE ON robots FOR EACH ROW EXECUTE FUNCTION list_robots();
INSERT INTO list_counts SELECT 'robots', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM robots GROUP BY 2, 3;

-- +goose StatementBegin
CREATE FUNCTION list_projects() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM count_in_list('projects', 0, NEW.id, 1);
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.public THEN
        PERFORM count_in_list('public projects', 0, OLD.id, -1), count_in_list('public repositories', 0, OLD.id, -OLD.repository_count);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.public THEN
        PERFORM count_in_list('public projects', 0, NEW.id, 1), count_in_list('public repositories', 0, NEW.id, NEW.repository_count);
    END IF;
    IF TG_OP = 'DELETE' THEN
        PERFORM count_in_list('projects', 0, OLD.id, -1);
        DELETE FROM list_counts WHERE list IN ('repositories', 'artifacts of project', 'members', 'labels', 'robots') AND owner = OLD.id;
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER projects_listed AFTER INSERT OR DELETE ON projects FOR EACH ROW EXECUTE FUNCTION list_projects();
CREATE TRIGGER projects_relisted AFTER UPDATE ON projects FOR EACH ROW
    WHEN (OLD.public <> NEW.public OR NEW.public AND OLD.repository_count <> NEW.repository_count) EXECUTE FUNCTION list_projects();
INSERT INTO list_counts SELECT 'projects', 0, id / 1024, COUNT(*) FROM projects GROUP BY 3;
INSERT INTO list_counts SELECT 'public projects', 0, id / 1024, COUNT(*) FROM projects WHERE public GROUP BY 3;
INSERT INTO list_counts SELECT 'public repositories', 0, id / 1024, SUM(repository_count) FROM projects WHERE public GROUP BY 3;

-- Repositories and artifacts may go by the thousand in one statement, which counts them once.
-- +goose StatementBegin
CREATE FUNCTION list_repositories() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO list_counts AS c (list, owner, part, entries)
    SELECT 'repositories', o.owner, r.id / 1024, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed r CROSS JOIN LATERAL (VALUES (CAST(0 AS BIGINT)), (r.project_id)) AS o (owner) GROUP BY 2, 3 ORDER BY 2, 3
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM list_counts WHERE list = 'artifacts' AND owner IN (SELECT id FROM changed);
    END IF;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER repositories_listed AFTER INSERT ON repositories REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_repositories();
CREATE TRIGGER repositories_unlisted AFTER DELETE ON repositories REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_repositories();
INSERT INTO list_counts SELECT 'repositories', 0, id / 1024, COUNT(*) FROM repositories GROUP BY 3;
INSERT INTO list_counts SELECT 'repositories', project_id, id / 1024, COUNT(*) FROM repositories GROUP BY 2, 3;

-- What a project has is counted in 16 parts, of which a transaction changes one: pushes to its repositories do not queue for one row.
-- +goose StatementBegin
CREATE FUNCTION list_artifacts() RETURNS TRIGGER LANGUAGE plpgsql AS $$
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
    SELECT 'artifacts of project', project_id, CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) % 16, CASE TG_OP WHEN 'INSERT' THEN COUNT(*) ELSE -COUNT(*) END
    FROM changed WHERE listed GROUP BY 2 ORDER BY 2
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION relist_artifact() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM count_in_list('artifacts', NEW.repository_id, NEW.id, CASE WHEN NEW.listed THEN 1 ELSE -1 END);
    INSERT INTO list_counts AS c (list, owner, part, entries)
    VALUES ('artifacts of project', NEW.project_id, CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) % 16, CASE WHEN NEW.listed THEN 1 ELSE -1 END)
    ON CONFLICT (list, owner, part) DO UPDATE SET entries = c.entries + excluded.entries;
    RETURN NULL;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER artifacts_listed AFTER INSERT ON artifacts REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_artifacts();
CREATE TRIGGER artifacts_unlisted AFTER DELETE ON artifacts REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION list_artifacts();
CREATE TRIGGER artifacts_relisted AFTER UPDATE ON artifacts FOR EACH ROW WHEN (OLD.listed <> NEW.listed) EXECUTE FUNCTION relist_artifact();
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

CREATE VIEW repository_parts AS SELECT id AS rowid, name FROM repositories;
-- Parts of names are found by an index where the server has its extensions for that, which PostgreSQL brings along and some providers
-- leave out; without them names are read.
-- +goose StatementBegin
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE EXTENSION IF NOT EXISTS btree_gin;
    CREATE INDEX repositories_parts ON repositories USING gin (name gin_trgm_ops);
    CREATE INDEX tags_parts ON tags USING gin (repository_id, LOWER(name) gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'names have no index of their parts: %', SQLERRM;
END;
$$;
-- +goose StatementEnd
