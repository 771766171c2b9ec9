-- How much each project may hold, and what it holds: the distinct bytes that its manifests link, and these themselves.
-- +goose Up
ALTER TABLE manifests ADD COLUMN project_id BIGINT NOT NULL DEFAULT 0;
UPDATE manifests SET project_id = (SELECT r.project_id FROM repositories r WHERE r.id = manifests.repository_id);
CREATE INDEX manifests_project ON manifests (project_id, digest);

-- The project whose usage the referenced blob is part of; null for what is not stored for this reference.
ALTER TABLE manifest_references ADD COLUMN counted_in BIGINT;
UPDATE manifest_references SET counted_in = (SELECT r.project_id FROM repositories r WHERE r.id = manifest_references.repository_id)
WHERE kind = 'config' OR kind = 'layer' AND media_type NOT IN (
    'application/vnd.oci.image.layer.nondistributable.v1.tar', 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
    'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', 'application/vnd.docker.image.rootfs.foreign.diff.tar',
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip');
CREATE INDEX manifest_references_counted ON manifest_references (counted_in, digest) WHERE counted_in IS NOT NULL;

CREATE TABLE project_blobs (
    project_id BIGINT NOT NULL,
    digest     TEXT   NOT NULL,
    size       BIGINT NOT NULL,
    PRIMARY KEY (project_id, digest)
) WITHOUT ROWID;
INSERT INTO project_blobs (project_id, digest, size)
    SELECT DISTINCT f.counted_in, b.digest, b.size FROM manifest_references f JOIN blobs b ON b.digest = f.digest WHERE f.counted_in IS NOT NULL;
INSERT INTO project_blobs (project_id, digest, size)
    SELECT DISTINCT project_id, digest, size FROM manifests WHERE TRUE ON CONFLICT (project_id, digest) DO NOTHING;

CREATE TABLE project_quotas (
    project_id BIGINT  NOT NULL PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    hard_limit BIGINT  NOT NULL,
    warned     BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);
INSERT INTO project_quotas (project_id, hard_limit, warned, created_at, updated_at)
    SELECT id, -1, FALSE, created_at, updated_at FROM projects;

-- What a project holds is the sum over its shards, so that pushes need not wait for each other.
CREATE TABLE project_usage (
    project_id BIGINT  NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    shard      INTEGER NOT NULL,
    used       BIGINT  NOT NULL,
    allotted   BIGINT  NOT NULL,
    PRIMARY KEY (project_id, shard)
) WITHOUT ROWID;
INSERT INTO project_usage (project_id, shard, used, allotted)
    SELECT p.id, s.shard, CASE WHEN s.shard = 0 THEN COALESCE((SELECT SUM(b.size) FROM project_blobs b WHERE b.project_id = p.id), 0) ELSE 0 END, 4611686018427387904
    FROM projects p CROSS JOIN (
        SELECT 0 AS shard UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6
        UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9 UNION ALL SELECT 10 UNION ALL SELECT 11 UNION ALL SELECT 12
        UNION ALL SELECT 13 UNION ALL SELECT 14 UNION ALL SELECT 15) s;
