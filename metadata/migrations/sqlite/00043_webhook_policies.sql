-- Who is told of events: by which webhooks, when they were last told, and what the receivers said. A webhook without a project is told
-- of the events of all.
-- +goose Up
CREATE TABLE webhook_policies (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  BIGINT REFERENCES projects (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    creator     TEXT NOT NULL,
    enabled     BOOLEAN NOT NULL,
    event_types TEXT NOT NULL,
    targets     TEXT NOT NULL,
    base        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX webhook_policies_name ON webhook_policies (COALESCE(project_id, 0), name);
CREATE INDEX webhook_policies_project ON webhook_policies (project_id);

CREATE TABLE webhook_triggers (
    policy_id    BIGINT NOT NULL REFERENCES webhook_policies (id) ON DELETE CASCADE,
    event_type   TEXT NOT NULL,
    triggered_at BIGINT NOT NULL,
    PRIMARY KEY (policy_id, event_type)
) WITHOUT ROWID;

CREATE TABLE webhook_answers (
    task_id     BIGINT NOT NULL PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    status      INTEGER NOT NULL,
    body        TEXT NOT NULL,
    duration_us BIGINT NOT NULL
) WITHOUT ROWID;

-- What was to be delivered goes with the webhook, also with its project.
-- +goose StatementBegin
CREATE TRIGGER webhook_policies_deleted AFTER DELETE ON webhook_policies BEGIN
    DELETE FROM executions WHERE kind = 'WEBHOOK' AND subject_id = OLD.id;
END;
-- +goose StatementEnd
