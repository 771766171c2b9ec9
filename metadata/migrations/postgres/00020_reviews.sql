-- Blobs whose need has to be looked at, by garbage collection: in a repository, or, as repository 0, in the whole registry. They are
-- queued by whatever may take the last reference away, so that collecting costs what there is to collect and not what is stored.
-- +goose Up
CREATE TABLE blob_reviews (
    repository_id BIGINT NOT NULL,
    digest        TEXT   COLLATE "C" NOT NULL,
    since         BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX blob_reviews_since ON blob_reviews (since, repository_id, digest);
INSERT INTO blob_reviews (repository_id, digest, since) SELECT repository_id, digest, created_at FROM repository_blobs;
INSERT INTO blob_reviews (repository_id, digest, since) SELECT 0, digest, created_at FROM blobs b
    WHERE NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.digest = b.digest);
