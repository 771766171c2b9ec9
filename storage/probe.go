package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// Probe writes a small object, reads it back and deletes it, and returns the first error: what a backend's Check does when it
// knows nothing better.
func Probe(ctx context.Context, backend Backend) (err error) {
	content := make([]byte, 64)
	if _, err := rand.Read(content); err != nil {
		return fmt.Errorf("make the probe's content: %w", err)
	}
	key, err := writeProbe(ctx, backend, content)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer func() {
		if deleteErr := backend.Delete(ctx, []string{key}); deleteErr != nil {
			err = errors.Join(err, fmt.Errorf("delete: %w", deleteErr))
		}
	}()
	reader, err := backend.Open(ctx, key, 0, -1)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer reader.Close()
	got, err := io.ReadAll(io.LimitReader(reader, int64(len(content))+1))
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(got, content) {
		return errors.New("read: the storage returned other bytes than were written")
	}
	return nil
}

func writeProbe(ctx context.Context, backend Backend, content []byte) (key string, err error) {
	upload, err := backend.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer upload.Close()
	if _, err = upload.Append(ctx, bytes.NewReader(content)); err == nil {
		key, err = upload.Commit(ctx)
	}
	if err != nil {
		return "", errors.Join(err, upload.Abort(ctx))
	}
	return key, nil
}
