package metadata

import (
	"context"
	"fmt"
)

var (
	signingKeys = define("signing keys", `
		SELECT id, algorithm, private_key, public_key, created_at, retires_at, expires_at FROM signing_keys ORDER BY created_at, id`)
	insertSigningKey = define("put signing key", `
		INSERT INTO signing_keys (id, algorithm, private_key, public_key, created_at, retires_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id) DO UPDATE SET retires_at = excluded.retires_at, expires_at = excluded.expires_at`)
	deleteSigningKey = define("delete signing key", `DELETE FROM signing_keys WHERE id = $1`)
)

func scanSigningKey(r row, k *SigningKey) error {
	return r.Scan(&k.ID, &k.Algorithm, &k.Private, &k.Public, moment{&k.CreatedAt}, moment{&k.RetiresAt}, moment{&k.ExpiresAt})
}

// SigningKeys returns all signing keys, the oldest first.
func (r Reader) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return all(ctx, r, signingKeys, scanSigningKey)
}

// PutSigningKey adds a key, or sets when one that exists retires and expires; its other fields never change.
func (t *Tx) PutSigningKey(ctx context.Context, k SigningKey) error {
	if _, err := t.exec(ctx, insertSigningKey, k.ID, k.Algorithm, k.Private, k.Public, micros(k.CreatedAt), micros(k.RetiresAt), micros(k.ExpiresAt)); err != nil {
		return fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	return nil
}

// DeleteSigningKey removes a key, or returns [ErrNotFound].
func (t *Tx) DeleteSigningKey(ctx context.Context, id string) error {
	return t.execOne(ctx, deleteSigningKey, id)
}
