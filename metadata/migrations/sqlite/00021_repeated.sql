-- How often an event happened again within the moments that it stands for.
-- +goose Up
ALTER TABLE events ADD COLUMN repeated BIGINT NOT NULL DEFAULT 0;
