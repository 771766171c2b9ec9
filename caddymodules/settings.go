package caddymodules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/setting"
	"github.com/berth-registry/berth/storage"
)

// settings are what a core is made from, with all placeholders resolved.
type settings struct {
	dataDir        string
	database       metadata.Opener
	databaseModule string
	storage        storage.Opener
	storageModule  string
	queue          jobs.Opener
	queueModule    string

	adminPassword        string
	secretKey            string
	externalURL          string
	tokenLifetime        time.Duration
	refreshTokenLifetime time.Duration
	uploadExpiry         time.Duration
	proxyCacheTTL        time.Duration
	// robotMaxLifetime is 0 for no limit.
	robotMaxLifetime       time.Duration
	accessTokenMaxLifetime time.Duration
	policies               [][]string
	// pinned are the settings that the configuration file has taken over; tokenLifetime is 0 when it has not.
	pinned map[*setting.Key]any
	syslog syslogSettings
	// outbound is where connections may go that people configure.
	outbound outbound.Networks
	// authorities are PEM certificates by the kind of auth.
	authorities map[string]string
	// ldap is what the configuration file alone says about the directory.
	ldap ldap.Options
}

// databaseIdentity is equal for settings that name the same database.
func (s settings) databaseIdentity() string {
	return fingerprint("database", s.databaseModule, s.database.Identity(), s.dataDir)
}

// storageIdentity is equal for settings that name the same storage.
func (s settings) storageIdentity() string {
	return fingerprint("storage", s.storageModule, s.storage.Identity(), s.dataDir)
}

// queueIdentity is equal for settings that name the same queue.
func (s settings) queueIdentity() string {
	return fingerprint("queue", s.queueModule, s.queue.Identity())
}

// identity is equal for settings that the same core serves. The administrator's password is not among them: it matters at the
// first start only.
func (s settings) identity() string {
	return fingerprint("core", s.databaseIdentity(), s.storageIdentity(), s.queueIdentity(), s.secretKey, s.externalURL,
		s.tokenLifetime.String(), s.refreshTokenLifetime.String(), s.uploadExpiry.String(), s.proxyCacheTTL.String(), s.pinnedIdentity(),
		s.robotMaxLifetime.String(), s.accessTokenMaxLifetime.String(), fmt.Sprintf("%q", s.policies),
		s.syslog.identity(), fmt.Sprint(s.ldap), s.authorities["oidc"], fmt.Sprint(s.outbound))
}

// pinnedIdentity is equal for the same pinned values.
func (s settings) pinnedIdentity() string {
	var parts []string
	for _, key := range setting.Keys() {
		if value, pinned := s.pinned[key]; pinned {
			parts = append(parts, key.Name, fmt.Sprint(value))
		}
	}
	return fingerprint(parts...)
}

// base is how the client reaches the registry.
func (s settings) base(r *http.Request) string {
	if s.externalURL != "" {
		return strings.TrimRight(s.externalURL, "/")
	}
	return clientScheme(r) + "://" + r.Host
}

func fingerprint(parts ...string) string {
	encoded, err := json.Marshal(parts)
	if err != nil {
		panic(err) // texts always marshal
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// defaultDatabase, defaultQueue and defaultStorage choose by the environment, so that one Caddyfile serves on one machine and at scale.
func defaultDatabase() json.RawMessage {
	if os.Getenv("BERTH_DATABASE_URL") != "" {
		return json.RawMessage(`{"engine":"postgres","url":"{env.BERTH_DATABASE_URL}"}`)
	}
	return json.RawMessage(`{"engine":"sqlite"}`)
}

func defaultQueue() json.RawMessage {
	if os.Getenv("BERTH_REDIS_URL") != "" {
		return json.RawMessage(`{"kind":"redis","url":"{env.BERTH_REDIS_URL}"}`)
	}
	return json.RawMessage(`{"kind":"embedded"}`)
}

func defaultStorage() json.RawMessage {
	if os.Getenv("BERTH_S3_BUCKET") == "" {
		return json.RawMessage(`{"backend":"filesystem"}`)
	}
	module := map[string]string{"backend": "s3"}
	for _, key := range []string{"endpoint", "bucket", "region", "access_key", "secret_key"} {
		// A placeholder of a variable that is not set would be an error; the module has its own default.
		if name := "BERTH_S3_" + strings.ToUpper(key); os.Getenv(name) != "" {
			module[key] = "{env." + name + "}"
		}
	}
	raw, err := json.Marshal(module)
	if err != nil {
		panic(err) // texts always marshal
	}
	return raw
}
