package caddymodules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddypki"

	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/storage"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the registry: what a process needs to know to start. Everything that people manage at run time (projects, members,
// users) is in the database.
//
// Texts may hold placeholders such as {env.NAME} and {file./run/secrets/name}, which are resolved when the configuration is
// loaded and do not show in it.
type App struct {
	// DataDir is the directory for everything that is kept on this machine: the SQLite database and the blobs, where those are
	// not configured to be elsewhere, the master key and the first administrator's password. Default: ./data.
	DataDir string `json:"data_dir,omitempty"`

	// DatabaseRaw is where the names are kept. Default: postgres with the URL in {env.BERTH_DATABASE_URL} when that is set, else
	// sqlite.
	DatabaseRaw json.RawMessage `json:"database,omitempty" caddy:"namespace=berth.database inline_key=engine"`

	// StorageRaw is where the bytes are kept. Default: s3 with the bucket in {env.BERTH_S3_BUCKET} when that is set, else
	// filesystem.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=berth.storage inline_key=backend"`

	// QueueRaw is how workers in all gateways learn of work in the background. Default: redis with the URL in {env.BERTH_REDIS_URL} when
	// that is set, else embedded.
	QueueRaw json.RawMessage `json:"queue,omitempty" caddy:"namespace=berth.queue inline_key=kind"`

	// AdminPassword is that of the user admin, who is created at the first start; later it has no effect. Default:
	// {env.BERTH_ADMIN_PASSWORD}, and when that is not set a random one, which is printed once and kept in the file
	// admin-password in the data directory.
	AdminPassword string `json:"admin_password,omitempty"`

	// SecretKey is the master key under which secrets in the database are sealed; it is the same on all gateways of one database.
	// Default: {env.BERTH_SECRET_KEY}, and when that is not set the file secret-key in the data directory, which is made at the
	// first start.
	SecretKey string `json:"secret_key,omitempty"`

	// ExternalURL is the address that clients know the registry by, such as https://registry.example.com, for gateways that cannot
	// see it in the request: behind a proxy that changes the host and is not among Caddy's trusted_proxies. Default: the scheme and
	// host of each request.
	ExternalURL string `json:"external_url,omitempty"`

	// TokenLifetime is how long an access token is good for: between a minute and an hour. A permission that is taken away counts
	// at once, whatever the lifetime. It pins the setting token_expiration. Default: what the setting says, 30m.
	TokenLifetime caddy.Duration `json:"token_lifetime,omitempty"`

	// RefreshTokenLifetime is how long `docker login` lasts where the client keeps a refresh token. Default: 720h.
	RefreshTokenLifetime caddy.Duration `json:"refresh_token_lifetime,omitempty"`

	// UploadExpiry is how long an upload may rest before it is forgotten and what it stored removed. Default: 24h.
	UploadExpiry caddy.Duration `json:"upload_expiry,omitempty"`

	// ProxyCacheTTL is how long a tag of a project that is a cache is believed to stand for the same manifest before the other registry is
	// asked again. Default: 2m.
	ProxyCacheTTL caddy.Duration `json:"proxy_cache_ttl,omitempty"`

	// Settings are values of what administrators otherwise configure at run time, by the names of the configuration API. What is
	// given here wins over the database and cannot be changed while the registry runs.
	Settings map[string]string `json:"settings,omitempty"`

	// Authorities are PEM files of certificate authorities to trust beside the system's, by where people come from: "ldap", "oidc".
	Authorities map[string]string `json:"authorities,omitempty"`

	// Directory is what no setting says about the company's directory (LDAP).
	Directory *Directory `json:"directory,omitempty"`

	// Syslog is how the audit log gets to a syslog server.
	Syslog *Syslog `json:"syslog,omitempty"`

	// Mirrors are the projects that stand for other registries, by their hosts: what a client asks this registry for as the mirror of
	// one, by the parameter ns ("docker.io"), or at a host of its own ("mirror.example.com"), is looked for in the project.
	Mirrors map[string]string `json:"mirrors,omitempty"`

	// Outbound bounds where the registry connects to for those who configure it.
	Outbound *Outbound `json:"outbound,omitempty"`

	// RobotMaxLifetime is the longest that a robot account may be good for, which forbids those that never expire. Default: no limit.
	RobotMaxLifetime caddy.Duration `json:"robot_max_lifetime,omitempty"`

	// AccessTokenMaxLifetime is the longest that a personal access token may be good for. Default: 8760h, a year.
	AccessTokenMaxLifetime caddy.Duration `json:"access_token_max_lifetime,omitempty"`

	// Policy are rows that the operator adds to the permission matrix: "p, subject, project, resource, action" allows, and "g, member,
	// role, project" gives a user ("user:alice") or a role another role. The project "*" is every project.
	Policy [][]string `json:"policy,omitempty"`

	context  caddy.Context
	settings settings
	coreKey  string
	core     *core
}

// The defaults of [App].
const (
	defaultDataDir              = "./data"
	defaultRefreshTokenLifetime = 30 * 24 * time.Hour
	defaultUploadExpiry         = 24 * time.Hour
)

// CaddyModule returns Caddy's description of the app.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "berth",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision resolves the settings and takes a share of the core, which it does not open: Caddy also provisions what it only
// validates, and configurations that then fail.
func (a *App) Provision(ctx caddy.Context) error {
	a.context = ctx
	if err := metrics.register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if err := a.resolve(ctx); err != nil {
		return err
	}
	settings := a.settings
	a.coreKey = settings.identity()
	pooled, _, err := cores.LoadOrNew(a.coreKey, func() (caddy.Destructor, error) {
		return newCore(func(ctx context.Context) (*services, error) { return openServices(ctx, settings) }), nil
	})
	if err != nil {
		return err
	}
	a.core = pooled.(*core)
	return nil
}

// resolve loads the guests and fills a.settings.
func (a *App) resolve(ctx caddy.Context) error {
	if err := a.resolveTexts(); err != nil {
		return err
	}
	if a.DatabaseRaw == nil {
		a.DatabaseRaw = defaultDatabase()
	}
	database, err := ctx.LoadModule(a, "DatabaseRaw")
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if a.StorageRaw == nil {
		a.StorageRaw = defaultStorage()
	}
	backend, err := ctx.LoadModule(a, "StorageRaw")
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	if a.QueueRaw == nil {
		a.QueueRaw = defaultQueue()
	}
	queue, err := ctx.LoadModule(a, "QueueRaw")
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	a.settings.queue = queue.(jobs.Opener)
	a.settings.queueModule = caddy.GetModuleID(queue)
	a.settings.database = database.(metadata.Opener)
	a.settings.databaseModule = caddy.GetModuleID(database)
	a.settings.storage = backend.(storage.Opener)
	a.settings.storageModule = caddy.GetModuleID(backend)
	a.settings.tokenLifetime = time.Duration(a.TokenLifetime)
	a.settings.refreshTokenLifetime = orDefault(a.RefreshTokenLifetime, defaultRefreshTokenLifetime)
	a.settings.uploadExpiry = orDefault(a.UploadExpiry, defaultUploadExpiry)
	a.settings.proxyCacheTTL = orDefault(a.ProxyCacheTTL, proxy.DefaultTTL)
	a.settings.robotMaxLifetime = time.Duration(a.RobotMaxLifetime)
	a.settings.accessTokenMaxLifetime = orDefault(a.AccessTokenMaxLifetime, personal.DefaultMaxLifetime)
	a.settings.policies = a.Policy
	if err := a.resolveSyslog(); err != nil {
		return err
	}
	if err := a.resolveOutbound(); err != nil {
		return err
	}
	if err := a.resolveAuthorities(); err != nil {
		return err
	}
	a.settings.ldap = a.ldap()
	return a.pinSettings()
}

func (a *App) resolveTexts() error {
	replacer := caddy.NewReplacer()
	texts := []struct {
		option, value, fallback string
		// needed refuses a placeholder that resolves to nothing.
		needed bool
		into   *string
	}{
		{"data_dir", a.DataDir, defaultDataDir, true, &a.settings.dataDir},
		{"admin_password", a.AdminPassword, "", false, &a.settings.adminPassword},
		// A gateway that made a key of its own could not read what the others have sealed.
		{"secret_key", a.SecretKey, "", true, &a.settings.secretKey},
		{"external_url", a.ExternalURL, "", true, &a.settings.externalURL},
	}
	for _, text := range texts {
		value, err := replacer.ReplaceOrErr(text.value, text.needed, true)
		if err != nil {
			return fmt.Errorf("%s: %w", text.option, err)
		}
		if value == "" {
			value = text.fallback
		}
		*text.into = value
	}
	if a.AdminPassword == "" {
		a.settings.adminPassword = replacer.ReplaceAll("{env.BERTH_ADMIN_PASSWORD}", "")
	}
	if a.SecretKey == "" {
		a.settings.secretKey = replacer.ReplaceAll("{env.BERTH_SECRET_KEY}", "")
	}
	absolute, err := filepath.Abs(a.settings.dataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	a.settings.dataDir = absolute
	return nil
}

func orDefault(configured caddy.Duration, fallback time.Duration) time.Duration {
	if configured == 0 {
		return fallback
	}
	return time.Duration(configured)
}

// Validate refuses settings that cannot work.
func (a *App) Validate() error {
	s := a.settings
	if s.ldap.Connections < 0 {
		return fmt.Errorf("connections of directory is %d: it must be positive", s.ldap.Connections)
	}
	if s.tokenLifetime != 0 && (s.tokenLifetime < token.MinLifetime || s.tokenLifetime > token.MaxLifetime) {
		return fmt.Errorf("token_lifetime is %s: it must be between 1m and 1h, as clients take less for a minute and a token that leaks is good until its end", s.tokenLifetime)
	}
	if shortest := max(s.tokenLifetime, token.MinLifetime); s.refreshTokenLifetime < shortest {
		return fmt.Errorf("refresh_token_lifetime is %s: it must not be shorter than token_lifetime, which is %s",
			s.refreshTokenLifetime, shortest)
	}
	if s.uploadExpiry < time.Minute {
		return fmt.Errorf("upload_expiry is %s: it must be at least 1m, or uploads expire between two requests", s.uploadExpiry)
	}
	if s.proxyCacheTTL < time.Second {
		return fmt.Errorf("proxy_cache_ttl is %s: it must be at least 1s", s.proxyCacheTTL)
	}
	if day := 24 * time.Hour; s.robotMaxLifetime != 0 && s.robotMaxLifetime < day || s.accessTokenMaxLifetime < day {
		return errors.New("robot_max_lifetime and access_token_max_lifetime must be at least 1d: robot accounts and tokens live for days")
	}
	if _, err := policy.New(policy.Options{ExtraPolicies: s.policies}); err != nil {
		return err
	}
	if err := a.checkMirrors(); err != nil {
		return err
	}
	if s.externalURL == "" {
		return nil
	}
	external, err := url.Parse(s.externalURL)
	if err != nil {
		return fmt.Errorf("external_url: %w", err)
	}
	if external.Scheme != "https" && external.Scheme != "http" || external.Host == "" || external.User != nil ||
		external.Path != "" && external.Path != "/" || external.RawQuery != "" || external.Fragment != "" {
		return fmt.Errorf("external_url is %q: it must be like https://registry.example.com, without a path, as registries have none",
			s.externalURL)
	}
	return nil
}

// Start opens the core, unless an earlier configuration has opened it. Its error fails the load, and the earlier configuration
// goes on.
func (a *App) Start() error {
	return a.core.start(a.context)
}

// Stop does nothing: requests of this configuration may still run, and each holds what it needs.
func (*App) Stop() error { return nil }

// Cleanup gives this configuration's share of the core back.
func (a *App) Cleanup() error {
	if a.core == nil {
		return nil
	}
	a.core = nil
	_, err := cores.Delete(a.coreKey)
	return err
}

// authority is Caddy's internal certificate authority where this configuration uses it, nil elsewhere.
func (a *App) authority() (*caddypki.CA, error) {
	app, err := a.context.AppIfConfigured("pki")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return app.(*caddypki.PKI).CAs[caddypki.DefaultCAID], nil
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
