-- What lists need so that a page costs the same however much there is: the names of members where they are sorted, an index of the
-- parts of all names, the pairs of fields that the audit log is filtered by, and sums that nobody has to add up.
-- +goose Up
ALTER TABLE members ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE members SET name = COALESCE((SELECT u.name FROM users u WHERE u.id = user_id), (SELECT g.name FROM user_groups g WHERE g.id = group_id), '');
CREATE INDEX members_named ON members (project_id, name, id);

-- An index of parts has what a list is narrowed by beside the names, which it reads from the table.
DROP TRIGGER repositories_named;
DROP TRIGGER repositories_unnamed;
DROP TABLE repository_parts;
CREATE VIRTUAL TABLE project_parts USING fts5 (name, id UNINDEXED, public UNINDEXED, content = 'projects', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO project_parts (project_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER projects_named AFTER INSERT ON projects BEGIN
    INSERT INTO project_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_unnamed AFTER DELETE ON projects BEGIN
    INSERT INTO project_parts (project_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
END;
-- +goose StatementEnd
CREATE VIRTUAL TABLE user_parts USING fts5 (name, id UNINDEXED, deleted_at UNINDEXED, content = 'users', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO user_parts (user_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER users_named AFTER INSERT ON users BEGIN
    INSERT INTO user_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_renamed AFTER UPDATE OF name ON users WHEN OLD.name <> NEW.name BEGIN
    INSERT INTO user_parts (user_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
    INSERT INTO user_parts (rowid, name) VALUES (NEW.id, NEW.name);
    UPDATE members SET name = NEW.name WHERE user_id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_unnamed AFTER DELETE ON users BEGIN
    INSERT INTO user_parts (user_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
END;
-- +goose StatementEnd
CREATE VIRTUAL TABLE group_parts USING fts5 (name, id UNINDEXED, content = 'user_groups', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO group_parts (group_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER user_groups_named AFTER INSERT ON user_groups BEGIN
    INSERT INTO group_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_groups_renamed AFTER UPDATE OF name ON user_groups WHEN OLD.name <> NEW.name BEGIN
    INSERT INTO group_parts (group_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
    INSERT INTO group_parts (rowid, name) VALUES (NEW.id, NEW.name);
    UPDATE members SET name = NEW.name WHERE group_id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_groups_unnamed AFTER DELETE ON user_groups BEGIN
    INSERT INTO group_parts (group_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
END;
-- +goose StatementEnd
CREATE VIRTUAL TABLE robot_parts USING fts5 (name, id UNINDEXED, project_id UNINDEXED, content = 'robots', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO robot_parts (robot_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER robots_named AFTER INSERT ON robots BEGIN
    INSERT INTO robot_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER robots_unnamed AFTER DELETE ON robots BEGIN
    INSERT INTO robot_parts (robot_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
END;
-- +goose StatementEnd
CREATE VIRTUAL TABLE label_parts USING fts5 (name, id UNINDEXED, project_id UNINDEXED, content = 'labels', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO label_parts (label_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER labels_named AFTER INSERT ON labels BEGIN
    INSERT INTO label_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER labels_renamed AFTER UPDATE OF name ON labels WHEN OLD.name <> NEW.name BEGIN
    INSERT INTO label_parts (label_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
    INSERT INTO label_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER labels_unnamed AFTER DELETE ON labels BEGIN
    INSERT INTO label_parts (label_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
END;
-- +goose StatementEnd
CREATE VIRTUAL TABLE member_parts USING fts5 (name, id UNINDEXED, project_id UNINDEXED, content = 'members', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
INSERT INTO member_parts (member_parts) VALUES ('rebuild');
-- +goose StatementBegin
CREATE TRIGGER members_named AFTER INSERT ON members BEGIN
    UPDATE members SET name = COALESCE((SELECT u.name FROM users u WHERE u.id = user_id), (SELECT g.name FROM user_groups g WHERE g.id = group_id), '')
        WHERE id = NEW.id;
    INSERT INTO member_parts (rowid, name) SELECT id, name FROM members WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER members_renamed AFTER UPDATE OF name ON members WHEN OLD.name <> NEW.name AND OLD.name <> '' BEGIN
    INSERT INTO member_parts (member_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
    INSERT INTO member_parts (rowid, name) VALUES (NEW.id, NEW.name);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER members_unnamed AFTER DELETE ON members BEGIN
    INSERT INTO member_parts (member_parts, rowid, name) VALUES ('delete', OLD.id, OLD.name);
END;
-- +goose StatementEnd
CREATE VIRTUAL TABLE repository_parts USING fts5 (name, id UNINDEXED, project_id UNINDEXED, content = 'repositories', content_rowid = 'id', tokenize = 'trigram', columnsize = 0);
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

CREATE INDEX audit_entries_user_operation ON audit_entries (username, operation, id);
CREATE INDEX audit_entries_project_operation ON audit_entries (project_id, operation, id);
CREATE INDEX audit_entries_project_user ON audit_entries (project_id, username, id);

-- Members by their roles.
-- +goose StatementBegin
CREATE TRIGGER members_in_role AFTER INSERT ON members BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('members in role', NEW.project_id, NEW.role_id, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER members_out_of_role AFTER DELETE ON members BEGIN
    UPDATE list_counts SET entries = entries - 1 WHERE list = 'members in role' AND owner = OLD.project_id AND part = OLD.role_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER members_change_role AFTER UPDATE OF role_id ON members WHEN OLD.role_id <> NEW.role_id BEGIN
    UPDATE list_counts SET entries = entries - 1 WHERE list = 'members in role' AND owner = OLD.project_id AND part = OLD.role_id;
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('members in role', NEW.project_id, NEW.role_id, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_without_roles AFTER DELETE ON projects BEGIN
    DELETE FROM list_counts WHERE list = 'members in role' AND owner = OLD.id;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'members in role', project_id, role_id, COUNT(*) FROM members GROUP BY 2, 3;

-- The bytes of all blobs, and those that all projects together use.
-- +goose StatementBegin
CREATE TRIGGER blobs_added AFTER INSERT ON blobs BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('stored bytes', 0, 0, NEW.size)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER blobs_removed AFTER DELETE ON blobs BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('stored bytes', 0, 0, -OLD.size)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'stored bytes', 0, 0, COALESCE(SUM(size), 0) FROM blobs;
-- +goose StatementBegin
CREATE TRIGGER usage_added AFTER INSERT ON project_usage WHEN NEW.used <> 0 BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('used bytes', 0, 0, NEW.used)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER usage_changed AFTER UPDATE OF used ON project_usage WHEN OLD.used <> NEW.used BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('used bytes', 0, 0, NEW.used - OLD.used)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER usage_removed AFTER DELETE ON project_usage WHEN OLD.used <> 0 BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('used bytes', 0, 0, -OLD.used)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'used bytes', 0, 0, COALESCE(SUM(used), 0) FROM project_usage;

-- The repositories of public projects, by ranges of their own ids.
-- +goose StatementBegin
CREATE TRIGGER repositories_open AFTER INSERT ON repositories WHEN (SELECT p.public FROM projects p WHERE p.id = NEW.project_id) BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('repositories in public', 0, NEW.id / 1024, 1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER repositories_shut AFTER DELETE ON repositories WHEN (SELECT p.public FROM projects p WHERE p.id = OLD.project_id) BEGIN
    INSERT INTO list_counts (list, owner, part, entries) VALUES ('repositories in public', 0, OLD.id / 1024, -1)
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_reopened AFTER UPDATE OF public ON projects WHEN OLD.public <> NEW.public BEGIN
    INSERT INTO list_counts (list, owner, part, entries)
        SELECT 'repositories in public', 0, id / 1024, CASE WHEN NEW.public THEN COUNT(*) ELSE -COUNT(*) END FROM repositories WHERE project_id = NEW.id GROUP BY 3
        ON CONFLICT (list, owner, part) DO UPDATE SET entries = entries + excluded.entries;
END;
-- +goose StatementEnd
INSERT INTO list_counts SELECT 'repositories in public', 0, r.id / 1024, COUNT(*) FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.public GROUP BY 3;
