package caddymodules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/distribution"
	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/health"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/group"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/oidc"
	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/identity/robot"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/notify/webhook"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/project"
	"github.com/berth-registry/berth/project/retain"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate"
	_ "github.com/berth-registry/berth/replicate/adapter/standard" // kinds of registry elsewhere
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
	"github.com/berth-registry/berth/storage"
)

// services are an open core: everything wired, ready for requests.
type services struct {
	distribution http.Handler
	api          http.Handler
	system       api.System
	token        http.Handler
	keys         http.Handler
	recorder     *audit.Recorder
	registries   *replicate.Registries
	replication  *replicate.Policies
	sender       *webhook.Sender
	webhooks     *webhook.Policies
	queue        jobs.Queue // nil where the database is it
	jobs         *jobs.Jobs
	accounts     *identity.Accounts
	authorizer   *policy.RBAC
	cache        *proxy.Cache
	// installation is what this registry calls itself in its requests to others.
	installation string

	closers []func() error
	logger  *slog.Logger
}

// close closes what was opened, the last first.
func (s *services) close() {
	for _, closeFn := range slices.Backward(s.closers) {
		if err := closeFn(); err != nil {
			s.logger.Error("close", "error", err)
		}
	}
}

func (s *services) onClose(closeFn func() error) { s.closers = append(s.closers, closeFn) }

// openServices opens the database and the storage, brings the schema up to date, makes the first user where there is none, and
// wires the rest. On an error nothing stays open.
func openServices(ctx context.Context, settings settings) (_ *services, err error) {
	s := &services{logger: newLogger()}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := makeDataDir(settings); err != nil {
		return nil, err
	}
	store, closeStore, err := openStore(ctx, settings)
	if err != nil {
		return nil, err
	}
	s.onClose(closeStore)
	backend, closeStorage, err := openStorage(ctx, settings)
	if err != nil {
		return nil, err
	}
	s.onClose(closeStorage)
	if err := bootstrap(ctx, store, settings); err != nil {
		return nil, err
	}
	box, err := s.openBox(settings)
	if err != nil {
		return nil, err
	}
	configuration := setting.New(setting.Options{Store: store, Box: box, Pinned: settings.pinned})
	if s.recorder, err = s.openAudit(settings, store, configuration); err != nil {
		return nil, err
	}
	s.registries = replicate.NewRegistries(replicate.RegistriesOptions{
		Store: store, Box: box, Networks: settings.outbound, UserAgent: "berth/" + version(),
	})
	s.onClose(s.registries.Close)
	s.openSender(settings, store, box, configuration)
	content := registry.New(registry.Options{
		KeepDeleted: func(ctx context.Context) time.Duration {
			values, err := configuration.Values(ctx)
			if err != nil {
				return 0
			}
			return time.Duration(values.Number(setting.SoftDeleteDays)) * 24 * time.Hour
		},
		Metadata: store, Storage: backend, Logger: s.logger, UploadExpiry: settings.uploadExpiry, Record: s.recorder.Record,
		EnforceLimits: func(ctx context.Context) bool {
			values, err := configuration.Values(ctx)
			return err != nil || values.On(setting.QuotaPerProjectEnable)
		},
	})
	metrics.follow(content)
	s.onClose(func() error {
		metrics.unfollow(content)
		return content.Close()
	})
	s.accounts = identity.NewAccounts(store, nil)
	if s.authorizer, err = policy.New(policy.Options{Memberships: store, Accounts: s.accounts, ExtraPolicies: settings.policies}); err != nil {
		return nil, err
	}
	s.openProxy(settings, store, content, configuration)
	if err := s.openJobs(ctx, settings, store, content, configuration); err != nil {
		return nil, err
	}
	s.openWebhooks(settings, store, box, configuration)
	checks := []health.Check{
		{Name: "core"},
		{Name: "database", Ask: store.Ping},
		{Name: "storage", Ask: backend.Check},
		{Name: "registry", Needs: []string{"database", "storage"}},
		{Name: "jobservice", Ask: s.jobs.Alive, Needs: []string{"database"}},
	}
	if s.queue != nil {
		checks = append(checks, health.Check{Name: "redis", Ask: s.queue.Ping})
	}
	s.system = api.System{
		Version: version(), StorageName: strings.TrimPrefix(settings.storageModule, "berth.storage."), Certificate: certificateOf,
		Health: health.New(s.logger, checks...),
	}
	if volumes, ok := storage.VolumesOf(backend); ok {
		s.system.Volumes = volumes
	}
	if err := s.wire(ctx, settings, store, content, box, configuration); err != nil {
		return nil, err
	}
	return s, nil
}

// changed tells what remembers projects that one is another now.
func (s *services) changed(project string) {
	s.authorizer.Invalidate(project)
	s.cache.Forget()
}

// readOnly returns what reports whether an administrator has made the registry read-only.
func readOnly(configuration *setting.Settings) func(ctx context.Context) bool {
	return func(ctx context.Context) bool {
		values, err := configuration.Values(ctx)
		return err == nil && values.On(setting.ReadOnly)
	}
}

// wire makes the faces.
func (s *services) wire(ctx context.Context, settings settings, store *metadata.Store, content *registry.Registry, box *secret.Box, configuration *setting.Settings) error {
	accounts, authorizer := s.accounts, s.authorizer
	groupsChanged := func() { authorizer.Invalidate("") }
	company := ldap.NewSource(ldap.SourceOptions{
		Store: store, Settings: configuration, Options: settings.ldap, Accounts: accounts, Moved: groupsChanged, Logger: s.logger,
	})
	s.onClose(company.Close)
	accounts.Follow(ldap.SourceName, company)
	// Who is known here is asked here first, so that the directory's state is no matter to them.
	locals := local.NewSource(local.SourceOptions{Store: store})
	accessTokens := personal.New(personal.Options{
		Store: store, Accounts: accounts, Verifier: locals, MaxLifetime: settings.accessTokenMaxLifetime, Logger: s.logger,
	})
	s.onClose(accessTokens.Close)
	login, err := identity.NewLogin(identity.LoginOptions{
		Sources:  []identity.Source{accessTokens, robot.NewSource(robot.SourceOptions{Store: store, Verifier: locals}), locals, company},
		Accounts: accounts,
		Observe:  recordLogin(s.recorder.Record),
	})
	if err != nil {
		return err
	}
	tokens, err := openTokens(ctx, settings, store, box, configuration)
	if err != nil {
		return err
	}
	users := local.NewUsers(local.UsersOptions{Store: store, Accounts: accounts})
	sessions := session.New(session.Options{
		Store: store, Accounts: accounts, Settings: configuration, Login: login, Box: box, Logger: s.logger,
	})
	people := oidc.New(oidc.Options{
		Store: store, Settings: configuration, Accounts: accounts, Sessions: sessions, Box: box,
		Authorities: settings.trusted("oidc"), Moved: groupsChanged, Logger: s.logger,
	})
	gate, err := auth.New(auth.Options{
		Login: login, IDTokens: people, Accounts: accounts, Tokens: tokens, Policy: authorizer, ExternalURL: settings.externalURL,
		Scheme: clientScheme, Address: clientAddress, Proven: nameUser, Observe: observeToken, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	s.token, s.keys = http.HandlerFunc(gate.ServeToken), http.HandlerFunc(gate.ServeKeys)
	s.distribution = distribution.New(distribution.Options{
		Registry: content, Authorizer: distribution.Gate(gate), Logger: s.logger, Address: clientAddress, Record: s.recorder.Record,
		ReadOnly: readOnly(configuration), Proxy: s.cache,
		RequestID: func(r *http.Request) string { return requestID(r.Context()) },
	})
	groups := group.New(group.Options{Store: store, Removed: groupsChanged})
	s.api = api.New(api.Options{
		Store: store, Registry: content, Policy: authorizer, Login: login, Settings: configuration, Sessions: sessions, OIDC: people,
		System: s.system, Jobs: s.jobs, Purges: s.jobs.Recurring(audit.PurgeKind), Collections: s.jobs.Recurring(registry.CollectionKind),
		Verifications: s.jobs.Recurring(registry.VerificationKind),
		Retentions:    retain.New(store, s.jobs),
		Registries:    s.registries, Replication: s.replication, Webhooks: s.webhooks,
		Users: users, Groups: groups, LDAP: company,
		Projects: project.New(project.Options{Store: store, Settings: configuration, Groups: groups, Directory: company, Changed: s.changed, CacheCreated: cacheCreated(retain.New(store, s.jobs))}),
		Robots:   robot.New(robot.Options{Store: store, Settings: configuration, Accounts: accounts, MaxLifetime: settings.robotMaxLifetime}),
		Base:     settings.base, Address: clientAddress, RequestID: requestID, Proven: nameUser, Record: s.recorder.Record, Logger: s.logger,
		AccessTokens: accessTokens,
	})
	return nil
}

func makeDataDir(settings settings) error {
	if err := os.MkdirAll(settings.dataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}

// openStore opens the database, or takes a share of the open one, with its schema up to date.
func openStore(ctx context.Context, settings settings) (*metadata.Store, func() error, error) {
	return share(databases, settings.databaseIdentity(), func() (*metadata.Store, error) {
		store, err := settings.database.OpenDatabase(ctx, settings.dataDir, newLogger())
		if err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
		store.Observe(observeDatabase)
		if err := store.Migrate(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("migrate database: %w", err), store.Close())
		}
		return store, nil
	})
}

// openStorage opens the storage, or takes a share of the open one.
func openStorage(ctx context.Context, settings settings) (storage.Backend, func() error, error) {
	return share(storages, settings.storageIdentity(), func() (storage.Backend, error) {
		backend, err := settings.storage.OpenStorage(ctx, settings.dataDir, newLogger())
		if err != nil {
			return nil, fmt.Errorf("open storage: %w", err)
		}
		return storage.Instrument(backend, observeStorage), nil
	})
}

// openBox returns what seals the secrets in the database, and names the installation.
func (s *services) openBox(settings settings) (*secret.Box, error) {
	master, err := secret.LoadKey(settings.secretKey, settings.dataDir)
	if err != nil {
		return nil, err
	}
	if s.installation, err = secret.Installation(master); err != nil {
		return nil, err
	}
	return secret.New(master)
}

func openTokens(ctx context.Context, settings settings, store *metadata.Store, box *secret.Box, configuration *setting.Settings) (*token.Tokens, error) {
	ring, err := token.OpenRing(ctx, token.RingOptions{
		Store: store, Box: box, MaxTokenLifetime: max(token.MaxLifetime, settings.refreshTokenLifetime),
	})
	if err != nil {
		return nil, fmt.Errorf("open token keys: %w", err)
	}
	lifetime := func(ctx context.Context) time.Duration {
		if settings.tokenLifetime != 0 {
			return settings.tokenLifetime
		}
		values, err := configuration.Values(ctx)
		if err != nil {
			return token.DefaultLifetime
		}
		return time.Duration(values.Number(setting.TokenExpiration)) * time.Minute
	}
	return token.New(token.Options{Ring: ring, Lifetime: lifetime, RefreshLifetime: settings.refreshTokenLifetime})
}
