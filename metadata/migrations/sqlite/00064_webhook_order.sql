-- What the deliveries to webhooks are about that were set aside, as later ones about the same wait for them; and until when receivers
-- have asked to be left alone.
-- +goose Up
CREATE TABLE webhook_asides (
    task_id BIGINT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    topic   TEXT NOT NULL,
    PRIMARY KEY (task_id, topic)
);
CREATE INDEX webhook_asides_topic ON webhook_asides (topic, task_id);

CREATE TABLE webhook_rests (
    policy_id  BIGINT NOT NULL REFERENCES webhook_policies (id) ON DELETE CASCADE,
    target     TEXT NOT NULL,
    rest_until BIGINT NOT NULL,
    PRIMARY KEY (policy_id, target)
);
