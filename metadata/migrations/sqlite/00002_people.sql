-- Who people are to the outside, the groups they are in, and members that are groups.
-- +goose Up
ALTER TABLE users ADD COLUMN source TEXT NOT NULL DEFAULT 'local';
ALTER TABLE users ADD COLUMN external_id TEXT;
ALTER TABLE users ADD COLUMN comment TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN directory_admin BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE users ADD COLUMN directory_read_at BIGINT;
ALTER TABLE users ADD COLUMN deleted_at BIGINT;
CREATE UNIQUE INDEX users_external ON users (source, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX users_email ON users (email) WHERE email <> '';

CREATE TABLE user_groups (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    kind       INTEGER NOT NULL,
    ldap_dn    TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);
CREATE UNIQUE INDEX user_groups_name ON user_groups (name, kind);
CREATE UNIQUE INDEX user_groups_dn ON user_groups (ldap_dn) WHERE ldap_dn <> '';

CREATE TABLE group_members (
    user_id  BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id BIGINT NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id)
);
CREATE INDEX group_members_group ON group_members (group_id, user_id);

ALTER TABLE members RENAME TO members_of_users;
DROP INDEX members_user;
CREATE TABLE members (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id BIGINT  NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id    BIGINT REFERENCES users (id) ON DELETE CASCADE,
    group_id   BIGINT REFERENCES user_groups (id) ON DELETE CASCADE,
    role_id    INTEGER NOT NULL,
    created_at BIGINT  NOT NULL,
    CHECK ((user_id IS NULL) <> (group_id IS NULL))
);
CREATE UNIQUE INDEX members_project_user ON members (project_id, user_id);
CREATE UNIQUE INDEX members_project_group ON members (project_id, group_id);
CREATE INDEX members_user ON members (user_id, project_id);
CREATE INDEX members_group ON members (group_id, project_id);
INSERT INTO members (project_id, user_id, role_id, created_at) SELECT project_id, user_id, role_id, created_at FROM members_of_users;
DROP TABLE members_of_users;

-- The roles that people have, directly and through groups.
CREATE VIEW user_roles AS
    SELECT user_id, project_id, role_id FROM members WHERE user_id IS NOT NULL
    UNION ALL
    SELECT g.user_id, m.project_id, m.role_id FROM group_members g JOIN members m ON m.group_id = g.group_id;
