-- Logins of browsers, and logins through a provider that have ended or wait for a name. Of tokens there are only hashes.
-- +goose Up
CREATE TABLE sessions (
    token_hash         TEXT   NOT NULL PRIMARY KEY,
    user_id            BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_version BIGINT NOT NULL,
    id_token           BLOB,
    created_at         BIGINT NOT NULL,
    renewed_at         BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id, renewed_at);
CREATE INDEX sessions_renewed ON sessions (renewed_at);

CREATE TABLE oidc_states (
    state_hash TEXT   NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oidc_states_expires ON oidc_states (expires_at);

CREATE TABLE oidc_onboardings (
    token_hash TEXT   NOT NULL PRIMARY KEY,
    person     BLOB   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oidc_onboardings_expires ON oidc_onboardings (expires_at);
