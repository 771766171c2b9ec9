-- What else an event tells, as a JSON object; and lanes, in which tasks take turns.
-- +goose Up
ALTER TABLE events ADD COLUMN details TEXT COLLATE "C" NOT NULL DEFAULT '';

ALTER TABLE tasks ADD COLUMN lane TEXT COLLATE "C";
CREATE INDEX tasks_lane ON tasks (kind, lane, id) WHERE ended_at IS NULL AND lane IS NOT NULL;
