package caddymodules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/storage"
)

// settings are what a core is made from, with all placeholders resolved.
type settings struct {
	dataDir        string
	database       metadata.Opener
	databaseModule string
	storage        storage.Opener
	storageModule  string

	adminPassword        string
	secretKey            string
	externalURL          string
	tokenLifetime        time.Duration
	refreshTokenLifetime time.Duration
	uploadExpiry         time.Duration
}

// databaseIdentity is equal for settings that name the same database.
func (s settings) databaseIdentity() string {
	return fingerprint("database", s.databaseModule, s.database.Identity(), s.dataDir)
}

// storageIdentity is equal for settings that name the same storage.
func (s settings) storageIdentity() string {
	return fingerprint("storage", s.storageModule, s.storage.Identity(), s.dataDir)
}

// identity is equal for settings that the same core serves. The administrator's password is not among them: it matters at the
// first start only.
func (s settings) identity() string {
	return fingerprint("core", s.databaseIdentity(), s.storageIdentity(), s.secretKey, s.externalURL,
		s.tokenLifetime.String(), s.refreshTokenLifetime.String(), s.uploadExpiry.String())
}

func fingerprint(parts ...string) string {
	encoded, err := json.Marshal(parts)
	if err != nil {
		panic(err) // texts always marshal
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// defaultDatabase and defaultStorage choose by the environment, so that one Caddyfile serves on one machine and at scale.
func defaultDatabase() json.RawMessage {
	if os.Getenv("BERTH_DATABASE_URL") != "" {
		return json.RawMessage(`{"engine":"postgres","url":"{env.BERTH_DATABASE_URL}"}`)
	}
	return json.RawMessage(`{"engine":"sqlite"}`)
}

func defaultStorage() json.RawMessage {
	if os.Getenv("BERTH_S3_BUCKET") == "" {
		return json.RawMessage(`{"backend":"filesystem"}`)
	}
	return json.RawMessage(`{"backend":"s3","endpoint":"{env.BERTH_S3_ENDPOINT}","bucket":"{env.BERTH_S3_BUCKET}",` +
		`"region":"{env.BERTH_S3_REGION}","access_key":"{env.BERTH_S3_ACCESS_KEY}","secret_key":"{env.BERTH_S3_SECRET_KEY}"}`)
}
