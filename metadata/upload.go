package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-registry/berth/oci"
)

const uploadColumns = `u.id, u.repository_id, r.name, u.received, u.storage_state, u.hashes, u.version, u.created_by, u.created_at, u.expires_at`

var (
	uploadByID     = define("upload", `SELECT `+uploadColumns+` FROM uploads u JOIN repositories r ON r.id = u.repository_id WHERE u.id = $1`)
	expiredUploads = define("expired uploads", `
		SELECT `+uploadColumns+` FROM uploads u JOIN repositories r ON r.id = u.repository_id
		WHERE u.expires_at <= $1 ORDER BY u.expires_at, u.id LIMIT $2`)
	countUploads = define("uploads in progress", `SELECT COUNT(*) FROM uploads`)

	insertUpload = define("create upload", `
		INSERT INTO uploads (id, repository_id, received, storage_state, hashes, version, created_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8)`)
	updateUpload = define("update upload", `
		UPDATE uploads SET received = $3, storage_state = $4, hashes = $5, expires_at = $6, version = version + 1
		WHERE id = $1 AND version = $2`)
	uploadVersion = define("version of upload", `SELECT version FROM uploads WHERE id = $1`)
	deleteUpload  = define("delete upload", `DELETE FROM uploads WHERE id = $1`)
)

func scanUpload(r row, u *Upload) error {
	var hashes string
	if err := r.Scan(&u.ID, &u.RepositoryID, &u.Repository, &u.Offset, &u.StorageState, &hashes, &u.Version, &u.CreatedBy,
		moment{&u.CreatedAt}, moment{&u.ExpiresAt}); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(hashes), &u.Hashes); err != nil {
		return fmt.Errorf("hashes of upload %s: %w", u.ID, err)
	}
	return nil
}

// Upload returns an upload session, or [ErrNotFound].
func (r Reader) Upload(ctx context.Context, id string) (Upload, error) {
	return one(ctx, r, uploadByID, scanUpload, id)
}

// ExpiredUploads returns up to n sessions that have expired by the given time, the oldest first.
func (r Reader) ExpiredUploads(ctx context.Context, now time.Time, n int) ([]Upload, error) {
	return all(ctx, r, expiredUploads, scanUpload, micros(now), limit(n))
}

// UploadsInProgress returns how many sessions there are.
func (r Reader) UploadsInProgress(ctx context.Context) (int64, error) {
	return one(ctx, r, countUploads, value[int64])
}

// CreateUpload stores a session and returns it with its version and time. It returns [ErrExists] when the id is taken and
// [ErrNotFound] when there is no such repository.
func (t *Tx) CreateUpload(ctx context.Context, u Upload) (Upload, error) {
	hashes, err := encodeHashes(u.Hashes)
	if err != nil {
		return Upload{}, err
	}
	u.Version, u.CreatedAt = 1, now()
	if _, err := t.exec(ctx, insertUpload, u.ID, u.RepositoryID, u.Offset, u.StorageState, hashes, u.CreatedBy, micros(u.CreatedAt), micros(u.ExpiresAt)); err != nil {
		return Upload{}, fmt.Errorf("upload %s: %w", u.ID, err)
	}
	return u, nil
}

// UpdateUpload writes the offset, states and expiry of a session that is still at u.Version, and returns it at its new version.
// It returns [ErrConflict] when somebody else has changed it since, and [ErrNotFound] when it is gone.
func (t *Tx) UpdateUpload(ctx context.Context, u Upload) (Upload, error) {
	hashes, err := encodeHashes(u.Hashes)
	if err != nil {
		return Upload{}, err
	}
	changed, err := t.exec(ctx, updateUpload, u.ID, u.Version, u.Offset, u.StorageState, hashes, micros(u.ExpiresAt))
	if err != nil {
		return Upload{}, fmt.Errorf("upload %s: %w", u.ID, err)
	}
	if changed == 0 {
		if _, err := one(ctx, t.Reader, uploadVersion, value[int64], u.ID); err != nil {
			return Upload{}, fmt.Errorf("upload %s: %w", u.ID, err)
		}
		return Upload{}, fmt.Errorf("upload %s: %w", u.ID, ErrConflict)
	}
	u.Version++
	return u, nil
}

// DeleteUpload removes a session, or returns [ErrNotFound].
func (t *Tx) DeleteUpload(ctx context.Context, id string) error {
	return t.execOne(ctx, deleteUpload, id)
}

func encodeHashes(hashes map[oci.Algorithm][]byte) (string, error) {
	encoded, err := json.Marshal(hashes)
	if err != nil {
		return "", fmt.Errorf("encode hash states: %w", err)
	}
	return string(encoded), nil
}
