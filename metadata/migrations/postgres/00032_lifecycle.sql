-- What tasks have come to so far, a JSON object: what was counted, found or done.
-- +goose Up
ALTER TABLE tasks ADD COLUMN outcome TEXT COLLATE "C" NOT NULL DEFAULT '{}';
