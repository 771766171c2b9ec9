package caddymodules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
)

// passwordFile holds the random password of the first user, in the data directory.
const passwordFile = "admin-password"

// bootstrap makes the first user and project of a new database. A random password is in its file before the user exists, so
// that a crash between the two cannot lose it.
func bootstrap(ctx context.Context, store *metadata.Store, settings settings) error {
	_, err := store.UserByName(ctx, local.AdminName)
	if err == nil {
		return nil
	}
	if !errors.Is(err, metadata.ErrNotFound) {
		return fmt.Errorf("look for the user %s: %w", local.AdminName, err)
	}
	if settings.adminPassword != "" {
		_, err := local.Bootstrap(ctx, store, settings.adminPassword, local.Params{})
		if errors.Is(err, local.ErrPassword) {
			return fmt.Errorf("admin_password (BERTH_ADMIN_PASSWORD): %w", err)
		}
		return err
	}
	path := filepath.Join(settings.dataDir, passwordFile)
	password, err := keepPassword(path)
	if err != nil {
		return fmt.Errorf("keep the password of the user %s: %w", local.AdminName, err)
	}
	if _, err := local.Bootstrap(ctx, store, password, local.Params{}); err != nil {
		return err
	}
	return announce(ctx, store, password, path)
}

// keepPassword returns the password in the file, which it makes with a random one when it is missing.
func keepPassword(path string) (string, error) {
	kept, err := os.ReadFile(path) //nolint:gosec // in the configured data directory
	if err == nil && len(bytes.TrimSpace(kept)) > 0 {
		return string(bytes.TrimSpace(kept)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	password := local.RandomPassword()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // as above
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(password + "\n")
	return password, errors.Join(err, file.Sync(), file.Close())
}

// announce prints the password, once and not to the log, unless another gateway has made the user with its own.
func announce(ctx context.Context, store *metadata.Store, password, path string) error {
	source := local.NewSource(local.SourceOptions{Store: store})
	_, err := source.Authenticate(ctx, identity.Credentials{Name: local.AdminName, Secret: password})
	if errors.Is(err, identity.ErrCredentials) || errors.Is(err, identity.ErrUnknown) {
		return os.Remove(path)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(os.Stderr, "\n  The user %s was created with the password %s\n  It is also in %s; change it with: berth user set-password %s\n\n",
		local.AdminName, password, path, local.AdminName)
	return err
}
