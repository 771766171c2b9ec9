-- Rows for a registry of a given size, for both databases: {names in braces} are numbers, of rows or ids. All that has no number of
-- its own is as many as projects: users, members of library, groups, labels, robots. Half of the repositories are in library, and all
-- tags in one repository. The counts that triggers keep are counted at the end.
INSERT INTO users (id, name, email, real_name, password_hash, system_admin, disabled, credential_version, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, 'user' || SUBSTR(CAST(10000000 + i AS TEXT), 2), 'user' || i || '@example.org', 'User ' || i, '', FALSE, FALSE, 1, {now} + i, {now} + i FROM s;

INSERT INTO projects (id, name, public, owner_id, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, 'p' || SUBSTR(CAST(10000000 + i AS TEXT), 2), i % 10 = 1, 1000 + i, {now} + i, {now} + i FROM s;

INSERT INTO project_quotas (project_id, hard_limit, warned, created_at, updated_at)
SELECT id, -1, FALSE, created_at, updated_at FROM projects WHERE id >= 1000;

INSERT INTO project_usage (project_id, shard, used, allotted)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < 16)
SELECT id, i, id, 4611686018427387904 FROM projects, s WHERE id >= 1000;

INSERT INTO members (project_id, user_id, role_id, created_at, name)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT {library}, 1000 + i, 2 + i % 3, {now} + i, 'user' || SUBSTR(CAST(10000000 + i AS TEXT), 2) FROM s;

INSERT INTO user_groups (id, name, kind, ldap_dn, external_key, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, 'group' || SUBSTR(CAST(10000000 + i AS TEXT), 2), 3, '', 'group' || i, {now} + i, {now} + i FROM s;

INSERT INTO labels (id, project_id, name, description, color, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, CAST({library} AS BIGINT), 'label' || SUBSTR(CAST(10000000 + i AS TEXT), 2), '', '', {now} + i, {now} + i FROM s;

INSERT INTO robots (id, name, plain_name, project_id, description, secret_hash, secret_version, disabled, duration, creator_kind, creator_id, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, 'robot$library+r' || i, 'robotlibrary+r' || i, CAST({library} AS BIGINT), '', '', 1, FALSE, -1, 'local', 1, {now} + i, {now} + i FROM s;

INSERT INTO robot_permissions (robot_id, position, project_id, namespace, resource, action)
SELECT id, 0, {library}, 'library', 'repository', 'pull' FROM robots WHERE id >= 1000;

INSERT INTO repositories (id, project_id, name, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {repositories})
SELECT 1000 + i, CASE WHEN i % 2 = 0 THEN {library} ELSE 1000 + i % {projects} END,
    CASE WHEN i % 2 = 0 THEN 'library' ELSE 'p' || SUBSTR(CAST(10000000 + i % {projects} AS TEXT), 2) END || '/r' || SUBSTR(CAST(10000000 + i AS TEXT), 2),
    {now} + i, {now} + i FROM s;

INSERT INTO blobs (digest, size, storage_key, created_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {artifacts})
SELECT 'sha256:b' || SUBSTR('000000000000000000000000000000000000000000000000000000000000000', 1, 63 - LENGTH(CAST(i AS TEXT))) || i, 1000 + i, 'seed-' || i, {now} + i FROM s;

INSERT INTO manifests (id, repository_id, project_id, digest, media_type, artifact_type, size, created_at, payload)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {artifacts})
SELECT 1000 + i, {repository}, {library},
    'sha256:' || SUBSTR('0000000000000000000000000000000000000000000000000000000000000000', 1, 64 - LENGTH(CAST(i AS TEXT))) || i,
    'application/vnd.oci.image.manifest.v1+json', 'application/vnd.oci.image.config.v1+json', 500, {now} + i,
    CAST('{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}}' AS {bytes}) FROM s;

INSERT INTO artifacts (id, repository_id, project_id, created_at, kind, config_media_type, content_size, accessory, attributes)
SELECT id, repository_id, project_id, created_at, CASE WHEN id % 100 = 0 THEN 'CHART' ELSE 'IMAGE' END, 'application/vnd.oci.image.config.v1+json', 1000000 + id, '',
    '{{"architecture":"amd64","os":"linux"}}' FROM manifests WHERE id >= 1000;

INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {tags})
SELECT {repository}, 'seed-' || SUBSTR(CAST(10000000 + i AS TEXT), 2), 1000 + i / 10, {now} + i, {now} + i FROM s;

INSERT INTO audit_entries (id, project_id, operation, resource_type, resource, username, credential, address, request_id, description, succeeded, occurred_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {entries})
SELECT 1000000 + i, CASE WHEN i % 2 = 0 THEN {library} ELSE 1000 + i % {projects} END,
    CASE WHEN i % 1000 = 7 THEN 'delete' WHEN i % 50 = 3 THEN 'create' ELSE 'pull' END, 'artifact',
    'p' || i % {projects} || '/r' || SUBSTR(CAST(10000000 + i % {repositories} AS TEXT), 2) || ':v1', 'user' || i % 1000, 'token', '10.0.0.1',
    '01JXREQUEST' || i, '', TRUE, {now} + 1000000 * CAST(i AS BIGINT) FROM s;

INSERT INTO audit_buckets (project_id, bucket, entries, first_at, last_at)
SELECT project_id, id / 4096, COUNT(*), MIN(occurred_at), MAX(occurred_at) FROM audit_entries WHERE id >= 1000000 GROUP BY 1, 2
UNION ALL SELECT 0, id / 4096, COUNT(*), MIN(occurred_at), MAX(occurred_at) FROM audit_entries WHERE id >= 1000000 GROUP BY 2;

DELETE FROM audit_spans;
INSERT INTO audit_spans (project_id, span, entries, first_at, last_at)
SELECT project_id, bucket / 64, SUM(entries), MIN(first_at), MAX(last_at) FROM audit_buckets GROUP BY 1, 2;

INSERT INTO audit_resources (resource)
SELECT DISTINCT e.resource FROM audit_entries e WHERE NOT EXISTS (SELECT 1 FROM audit_resources r WHERE r.resource = e.resource);

INSERT INTO registries (id, name, url, kind, description, login, username, insecure, ca_certificate, status, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects} / 10)
SELECT 1000 + i, 'registry' || SUBSTR(CAST(10000000 + i AS TEXT), 2), 'http://127.0.0.1:9', 'docker-registry', '', 'none', '', FALSE, '', 'healthy', {now} + i, {now} + i FROM s;

INSERT INTO replication_policies (id, name, description, creator, source_id, namespace, replaced, filters, cause, cron, deletes, overrides, enabled, single, by_chunk,
    speed, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, 'policy' || SUBSTR(CAST(10000000 + i AS TEXT), 2), '', 'admin', 1000, '', 0, '[]', 'manual', '', FALSE, FALSE, FALSE, FALSE, FALSE,
    -1, {now} + i, {now} + i FROM s;

INSERT INTO webhook_policies (id, project_id, name, description, creator, enabled, event_types, targets, base, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, CAST({library} AS BIGINT), 'webhook' || SUBSTR(CAST(10000000 + i AS TEXT), 2), '', 'admin', FALSE, '["PUSH_ARTIFACT"]', '[]', '', {now} + i, {now} + i FROM s;

INSERT INTO executions (id, kind, subject_id, cause, status, message, parameters, actor, created_at, updated_at, started_at, ended_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {artifacts})
SELECT 1000 + i, CASE WHEN i % 100 = 7 THEN 'GARBAGE_COLLECTION' WHEN i % 2 = 0 THEN 'WEBHOOK' ELSE 'REPLICATION' END,
    CASE WHEN i % 100 = 7 THEN 0 ELSE 1000 + i / 50 % {projects} END, 'MANUAL', 'Success', '', '{{}}', 'admin', {now} + i, {now} + i, {now} + i, {now} + i FROM s;

INSERT INTO tasks (id, execution_id, kind, status, message, parameters, attempts, holder, stopping, due_at, created_at, updated_at, started_at, ended_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {artifacts})
SELECT 1000 + i, CASE WHEN i % 2 = 0 THEN 1001 ELSE 1000 + i END, 'REPLICATION_MOVE', CASE WHEN i % 1000 = 7 THEN 'Error' ELSE 'Success' END, '', '{{}}', 1, '', FALSE, {now}, {now} + i, {now} + i, {now} + i, {now} + i FROM s;

INSERT INTO schedules (id, kind, subject_id, cadence, cron, parameters, next_at, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {projects})
SELECT 1000 + i, 'REPLICATION', 1000 + i, 'Custom', '0 0 0 1 1 *', '{{}}', 9000000000000000, {now} + i, {now} + i FROM s;

INSERT INTO deletions (id, project_id, repository, digest, media_type, tags, actor, deleted_at, expires_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {artifacts})
SELECT 1000 + i, CAST({library} AS BIGINT), 'library/gone',
    'sha256:' || SUBSTR('0000000000000000000000000000000000000000000000000000000000000000', 1, 64 - LENGTH(CAST(i AS TEXT))) || i, '', '["v' || i || '"]', 'admin', {now} + i,
    9000000000000000 FROM s;

-- Counts.
UPDATE artifacts SET tag_count = c.entries
FROM (SELECT manifest_id, COUNT(*) AS entries FROM tags GROUP BY 1) AS c WHERE c.manifest_id = artifacts.id AND artifacts.id >= 1000;
UPDATE repositories SET artifact_count = c.entries
FROM (SELECT repository_id, COUNT(*) AS entries FROM artifacts WHERE listed GROUP BY 1) AS c WHERE c.repository_id = repositories.id;
UPDATE projects SET repository_count = c.entries
FROM (SELECT project_id, COUNT(*) AS entries FROM repositories GROUP BY 1) AS c WHERE c.project_id = projects.id;

DELETE FROM list_counts;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'users', 0, id / 1024, COUNT(*), FALSE FROM users WHERE deleted_at IS NULL GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'groups', 0, id / 1024, COUNT(*), FALSE FROM user_groups GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'members', project_id, id / 1024, COUNT(*), FALSE FROM members GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'labels', COALESCE(project_id, 0), id / 1024, COUNT(*), FALSE FROM labels GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'robots', COALESCE(project_id, 0), id / 1024, COUNT(*), FALSE FROM robots GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'projects', 0, id / 1024, COUNT(*), FALSE FROM projects GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'public projects', 0, id / 1024, COUNT(*), FALSE FROM projects WHERE public GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'public repositories', 0, id / 1024, SUM(repository_count), FALSE FROM projects WHERE public GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'repositories', 0, id / 1024, COUNT(*), FALSE FROM repositories GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'repositories', project_id, id / 1024, COUNT(*), FALSE FROM repositories GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'artifacts', repository_id, id / 1024, COUNT(*), FALSE FROM artifacts WHERE listed GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'artifacts of project', project_id, id / 16384 * 16, COUNT(*), FALSE FROM artifacts WHERE listed GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'executions', 0, id / 1024, COUNT(*), FALSE FROM executions GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'executions of ' || kind, 0, id / 1024, COUNT(*), FALSE FROM executions GROUP BY 1, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'registries', 0, id / 1024, COUNT(*), FALSE FROM registries GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'replication policies', 0, id / 1024, COUNT(*), FALSE FROM replication_policies GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'schedules', 0, id / 1024, COUNT(*), FALSE FROM schedules GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'webhooks', COALESCE(project_id, 0), id / 1024, COUNT(*), FALSE FROM webhook_policies GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'deletions', project_id, id / 4096 * 4, COUNT(*), FALSE FROM deletions WHERE root_id IS NULL GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'tasks of ' || kind, execution_id, id / 1024, COUNT(*), FALSE FROM tasks
WHERE execution_id IN (SELECT execution_id FROM tasks GROUP BY 1 HAVING COUNT(*) > 1000) GROUP BY 1, 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'members in role', project_id, role_id, COUNT(*), FALSE FROM members GROUP BY 2, 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'repositories in public', 0, r.id / 1024, COUNT(*), FALSE FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.public GROUP BY 3;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'stored bytes', 0, 0, SUM(size), FALSE FROM blobs;
INSERT INTO list_counts (list, owner, part, entries, fresh) SELECT 'used bytes', 0, project_id % 64 * 16 + shard, SUM(used), FALSE FROM project_usage GROUP BY 3;
