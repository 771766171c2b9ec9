-- What the deliveries to webhooks are about that were set aside: later ones about the same wait for them.
-- +goose Up
CREATE TABLE webhook_asides (
    task_id BIGINT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    topic   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (task_id, topic)
);
CREATE INDEX webhook_asides_topic ON webhook_asides (topic, task_id);
