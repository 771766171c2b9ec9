-- Rows for a registry with garbage, for both databases: {names in braces} are numbers, of rows or ids. Blob i is in repository
-- i % {repositories}; ten blobs of a repository are those of one manifest, which the last {garbage} blobs have no more. Blobs are there
-- already, created at {now} + i.
INSERT INTO repositories (id, project_id, name, created_at, updated_at)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {repositories})
SELECT 1000 + i, {library}, 'library/r' || SUBSTR(CAST(10000000 + i AS TEXT), 2), {now} + i, {now} + i FROM s;

INSERT INTO repository_blobs (repository_id, digest, created_at)
SELECT 1000 + (created_at - {now}) % {repositories}, digest, created_at FROM blobs WHERE created_at >= {now};

INSERT INTO manifests (id, repository_id, project_id, digest, media_type, artifact_type, size, created_at, payload)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < ({blobs} - {garbage}) / 10)
SELECT 1000 + i, 1000 + i % {repositories}, {library},
    'sha256:' || SUBSTR('0000000000000000000000000000000000000000000000000000000000000000', 1, 64 - LENGTH(CAST(i AS TEXT))) || i,
    'application/vnd.oci.image.manifest.v1+json', 'application/vnd.oci.image.config.v1+json', 500, {now} + i,
    CAST('{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}}' AS {bytes}) FROM s;

INSERT INTO manifest_references (manifest_id, position, repository_id, kind, digest, media_type, size)
WITH b(i, digest, size) AS (SELECT created_at - {now}, digest, size FROM blobs WHERE created_at >= {now} AND created_at < {now} + {blobs} - {garbage})
SELECT 1000 + i / (10 * {repositories}) * {repositories} + i % {repositories}, i / {repositories} % 10, 1000 + i % {repositories}, 'layer', digest,
    'application/vnd.oci.image.layer.v1.tar+gzip', size FROM b
