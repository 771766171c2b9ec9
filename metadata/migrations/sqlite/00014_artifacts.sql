-- Manifests as people look at them, and the counts of lists, which triggers keep: so no way to change what is counted can forget it.
-- +goose Up
ALTER TABLE projects ADD COLUMN repository_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE repositories ADD COLUMN artifact_count BIGINT NOT NULL DEFAULT 0;
CREATE INDEX repositories_newest ON repositories (project_id, id);
ALTER TABLE tags ADD COLUMN pulled_at BIGINT;
CREATE INDEX tags_newest ON tags (manifest_id, updated_at, name);
-- What the descriptor of an index says of a child beyond type, digest and size.
ALTER TABLE manifest_references ADD COLUMN details TEXT;

-- One row for each manifest. It is a table of its own so that lists read no payloads, and counting rewrites none. Attributes are null
-- until the config was read. Listed are those that stand for themselves: accessories belong to what they are about, and manifests
-- without a tag to the index that lists them.
CREATE TABLE artifacts (
    id                INTEGER NOT NULL PRIMARY KEY REFERENCES manifests (id) ON DELETE CASCADE,
    repository_id     BIGINT  NOT NULL,
    project_id        BIGINT  NOT NULL,
    created_at        BIGINT  NOT NULL,
    pulled_at         BIGINT,
    kind              TEXT    NOT NULL,
    config_media_type TEXT    NOT NULL,
    content_size      BIGINT  NOT NULL,
    accessory         TEXT    NOT NULL,
    accessory_of      TEXT,
    icon              TEXT,
    attributes        TEXT,
    tag_count         BIGINT  NOT NULL DEFAULT 0,
    index_count       BIGINT  NOT NULL DEFAULT 0,
    listed            BOOLEAN NOT NULL GENERATED ALWAYS AS (accessory_of IS NULL AND (tag_count > 0 OR index_count = 0)) STORED
);
CREATE INDEX artifacts_repository ON artifacts (repository_id, created_at, id) WHERE listed;
CREATE INDEX artifacts_project ON artifacts (project_id, created_at, id) WHERE listed;
CREATE INDEX artifacts_accessories ON artifacts (repository_id, accessory_of, id) WHERE accessory_of IS NOT NULL;
CREATE INDEX artifacts_icon ON artifacts (icon) WHERE icon IS NOT NULL;
CREATE INDEX artifacts_unread ON artifacts (id) WHERE attributes IS NULL;

-- Labels that are attached to artifacts.
CREATE TABLE artifact_labels (
    label_id    BIGINT NOT NULL,
    manifest_id BIGINT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (label_id, manifest_id)
) WITHOUT ROWID;
CREATE INDEX artifact_labels_manifest ON artifact_labels (manifest_id, label_id);

INSERT INTO artifacts (id, repository_id, project_id, created_at, kind, config_media_type, content_size, accessory, accessory_of, tag_count, index_count)
SELECT m.id, m.repository_id, r.project_id, m.created_at, 'UNKNOWN', '', m.size,
    CASE WHEN m.subject IS NULL THEN '' ELSE 'subject.accessory' END, m.subject,
    (SELECT COUNT(*) FROM tags t WHERE t.manifest_id = m.id),
    (SELECT COUNT(*) FROM manifest_references c WHERE c.repository_id = m.repository_id AND c.digest = m.digest AND c.kind = 'manifest')
FROM manifests m JOIN repositories r ON r.id = m.repository_id;
-- cosign's signatures and attachments from before referrers: the tag "sha256-….sig" names the subject.
UPDATE artifacts SET accessory = CASE SUBSTR(t.name, 72) WHEN '.sig' THEN 'signature.cosign' ELSE 'subject.accessory' END,
    accessory_of = 'sha256:' || SUBSTR(t.name, 8, 64)
FROM tags t WHERE t.manifest_id = artifacts.id AND artifacts.accessory_of IS NULL
    AND t.name LIKE 'sha256-%' AND SUBSTR(t.name, 72) IN ('.sig', '.att', '.sbom');
UPDATE repositories SET artifact_count = (SELECT COUNT(*) FROM artifacts a WHERE a.repository_id = repositories.id AND a.listed);
UPDATE projects SET repository_count = (SELECT COUNT(*) FROM repositories r WHERE r.project_id = projects.id);

-- +goose StatementBegin
CREATE TRIGGER repositories_inserted AFTER INSERT ON repositories BEGIN
    UPDATE projects SET repository_count = repository_count + 1 WHERE id = NEW.project_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER repositories_deleted AFTER DELETE ON repositories BEGIN
    UPDATE projects SET repository_count = repository_count - 1 WHERE id = OLD.project_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_inserted AFTER INSERT ON artifacts WHEN NEW.listed BEGIN
    UPDATE repositories SET artifact_count = artifact_count + 1 WHERE id = NEW.repository_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_deleted AFTER DELETE ON artifacts WHEN OLD.listed BEGIN
    UPDATE repositories SET artifact_count = artifact_count - 1 WHERE id = OLD.repository_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER artifacts_updated AFTER UPDATE ON artifacts WHEN OLD.listed <> NEW.listed BEGIN
    UPDATE repositories SET artifact_count = artifact_count + NEW.listed - OLD.listed WHERE id = NEW.repository_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER tags_inserted AFTER INSERT ON tags BEGIN
    UPDATE artifacts SET tag_count = tag_count + 1 WHERE id = NEW.manifest_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER tags_deleted AFTER DELETE ON tags BEGIN
    UPDATE artifacts SET tag_count = tag_count - 1 WHERE id = OLD.manifest_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER tags_moved AFTER UPDATE OF manifest_id ON tags WHEN OLD.manifest_id <> NEW.manifest_id BEGIN
    UPDATE artifacts SET tag_count = tag_count - 1 WHERE id = OLD.manifest_id;
    UPDATE artifacts SET tag_count = tag_count + 1 WHERE id = NEW.manifest_id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER manifest_references_inserted AFTER INSERT ON manifest_references WHEN NEW.kind = 'manifest' BEGIN
    UPDATE artifacts SET index_count = index_count + 1
    WHERE id = (SELECT id FROM manifests WHERE repository_id = NEW.repository_id AND digest = NEW.digest);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER manifest_references_deleted AFTER DELETE ON manifest_references WHEN OLD.kind = 'manifest' BEGIN
    UPDATE artifacts SET index_count = index_count - 1
    WHERE id = (SELECT id FROM manifests WHERE repository_id = OLD.repository_id AND digest = OLD.digest);
END;
-- +goose StatementEnd
