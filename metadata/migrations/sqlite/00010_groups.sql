-- By what a group is known where it comes from, in one spelling: the distinguished name of an LDAP group, the name of others. And
-- the users whom their directory no longer lets in.
-- +goose Up
ALTER TABLE user_groups ADD COLUMN external_key TEXT NOT NULL DEFAULT '';
UPDATE user_groups SET external_key = CASE WHEN ldap_dn <> '' THEN LOWER(ldap_dn) ELSE name END;
DROP INDEX user_groups_dn;
CREATE UNIQUE INDEX user_groups_key ON user_groups (kind, external_key);

ALTER TABLE users ADD COLUMN directory_gone BOOLEAN NOT NULL DEFAULT FALSE;
