-- Ranges of the repositories in other orders than that of their ids. Here there are none: with the size of its lists a walk over the index
-- of an order is soon over.
-- +goose Up
CREATE TABLE list_ranges (
    list   TEXT   NOT NULL,
    owner  BIGINT NOT NULL,
    name   TEXT   NOT NULL,
    moment BIGINT NOT NULL,
    id     BIGINT NOT NULL,
    part   BIGINT NOT NULL,
    PRIMARY KEY (list, owner, name, moment, id)
) WITHOUT ROWID;
