-- Queues that people pause, and the pools of workers that live.
-- +goose Up
CREATE INDEX tasks_running ON tasks (kind, id) WHERE status = 'Running';
CREATE INDEX tasks_stopping ON tasks (holder) WHERE stopping AND ended_at IS NULL;

CREATE TABLE queues (
    kind       TEXT COLLATE "C" PRIMARY KEY,
    paused     BOOLEAN NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE pools (
    id         TEXT COLLATE "C" PRIMARY KEY,
    host       TEXT COLLATE "C" NOT NULL,
    pid        BIGINT NOT NULL,
    workers    BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);
