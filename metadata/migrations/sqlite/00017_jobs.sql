-- Work in the background: executions, their tasks and the tasks' logs; and schedules, which begin executions.
-- +goose Up
CREATE TABLE executions (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL,
    subject_id   BIGINT NOT NULL,
    cause        TEXT NOT NULL,
    status       TEXT NOT NULL,
    message      TEXT NOT NULL,
    parameters   TEXT NOT NULL,
    actor        TEXT NOT NULL,
    unique_key   TEXT,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    started_at   BIGINT,
    ended_at     BIGINT
);
CREATE INDEX executions_subject ON executions (kind, subject_id, id);
CREATE UNIQUE INDEX executions_unique ON executions (kind, unique_key) WHERE ended_at IS NULL AND unique_key IS NOT NULL;

-- A task is due when it may be started, or, while it runs, when its worker has to be taken for dead.
CREATE TABLE tasks (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id BIGINT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    status       TEXT NOT NULL,
    message      TEXT NOT NULL,
    parameters   TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    holder       TEXT NOT NULL,
    stopping     BOOLEAN NOT NULL,
    due_at       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    started_at   BIGINT,
    ended_at     BIGINT
);
CREATE INDEX tasks_execution ON tasks (execution_id, id);
CREATE INDEX tasks_due ON tasks (kind, due_at) WHERE ended_at IS NULL;

CREATE TABLE task_logs (
    task_id  BIGINT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    sequence BIGINT NOT NULL,
    lines    TEXT NOT NULL,
    PRIMARY KEY (task_id, sequence)
) WITHOUT ROWID;

CREATE TABLE schedules (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    subject_id BIGINT NOT NULL,
    cadence    TEXT NOT NULL,
    cron       TEXT NOT NULL,
    parameters TEXT NOT NULL,
    next_at    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX schedules_subject ON schedules (kind, subject_id);
CREATE INDEX schedules_next ON schedules (next_at);
