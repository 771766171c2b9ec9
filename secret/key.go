package secret

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeyFile is the name of the file in the data directory that holds the generated master key.
const KeyFile = "secret-key"

// LoadKey returns the master key: the configured one when it is not empty, else that of [KeyFile] in the directory, which is
// created with a random key when it is missing. Processes that create it at the same time get the same key.
//
// It returns an error when the configured key is too short, and when the file cannot be made, is readable by others, or is
// too short to hold a key.
func LoadKey(configured, directory string) ([]byte, error) {
	if configured != "" {
		if len(configured) < MinKeyLength {
			return nil, fmt.Errorf("configured master key is %d bytes long, at least %d are needed: make one with openssl rand -hex 32",
				len(configured), MinKeyLength)
		}
		return []byte(configured), nil
	}
	path := filepath.Join(directory, KeyFile)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(directory, path); err != nil {
		return nil, fmt.Errorf("create master key: %w", err)
	}
	return readKey(path)
}

// Installation returns a name for all gateways that have the master key. It tells nothing of the key.
func Installation(master []byte) (string, error) {
	name, err := hkdf.Key(sha256.New, master, nil, "berth installation 1", 8)
	if err != nil {
		return "", fmt.Errorf("derive the name of the installation: %w", err)
	}
	return hex.EncodeToString(name), nil
}

func readKey(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // in the configured data directory
	if err != nil {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	defer file.Close()
	status, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	if status.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("master key %s can be read by others (mode %04o): run chmod 600 on it", path, status.Mode().Perm())
	}
	const longest = 4096
	content := make([]byte, longest)
	n, err := file.Read(content)
	if err != nil && n == 0 && status.Size() > 0 {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	key := strings.TrimSpace(string(content[:n]))
	if len(key) < MinKeyLength {
		return nil, fmt.Errorf("master key %s is %d bytes long, at least %d are needed: restore it from a backup, or remove it "+
			"to get a new one, which makes every sealed secret unreadable", path, len(key), MinKeyLength)
	}
	return []byte(key), nil
}

// createKey links a complete file into place, so that nobody ever sees half a key and the first of several creators wins.
func createKey(directory, path string) error {
	file, err := os.CreateTemp(directory, KeyFile+".*.new")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	random := make([]byte, 32)
	rand.Read(random) //nolint:errcheck // crypto/rand.Read never fails
	_, err = file.WriteString(hex.EncodeToString(random) + "\n")
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDirectory(directory)
}

func syncDirectory(path string) error {
	directory, err := os.Open(path) //nolint:gosec // the configured data directory
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
