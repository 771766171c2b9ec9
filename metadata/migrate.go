package metadata

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// provider returns goose over the engine's migrations.
func (s *Store) provider() (*goose.Provider, error) {
	folder, err := fs.Sub(migrations, "migrations/"+s.engine.Dialect.Name)
	if err != nil {
		return nil, fmt.Errorf("open migrations: %w", err)
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if s.engine.Dialect.Options != nil {
		more, err := s.engine.Dialect.Options()
		if err != nil {
			return nil, fmt.Errorf("prepare migrations: %w", err)
		}
		options = append(options, more...)
	}
	provider, err := goose.NewProvider(s.engine.Dialect.Goose, s.engine.Migrations, folder, options...)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return provider, nil
}

// Migrate brings the schema to the newest version this program knows. Gateways that start together migrate once: the others
// wait. It returns a [*NewerSchemaError], and changes nothing, when the database is newer than the program.
func (s *Store) Migrate(ctx context.Context) error {
	s.migrating.Lock()
	defer s.migrating.Unlock()
	provider, err := s.provider()
	if err != nil {
		return err
	}
	found, known, err := s.versions(ctx, provider)
	if err != nil {
		return err
	}
	if found > known {
		return &NewerSchemaError{Found: found, Known: known}
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate database: %w", s.shared.classify(err))
	}
	for _, result := range results {
		s.logger.InfoContext(ctx, "migrated database", "version", result.Source.Version, "duration", result.Duration)
	}
	return nil
}

// SchemaVersion returns the version of the database's schema and the newest one this program knows.
func (s *Store) SchemaVersion(ctx context.Context) (found, known int64, err error) {
	s.migrating.Lock()
	defer s.migrating.Unlock()
	provider, err := s.provider()
	if err != nil {
		return 0, 0, err
	}
	return s.versions(ctx, provider)
}

func (s *Store) versions(ctx context.Context, provider *goose.Provider) (found, known int64, err error) {
	found, err = provider.GetDBVersion(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read schema version: %w", s.shared.classify(err))
	}
	sources := provider.ListSources()
	return found, sources[len(sources)-1].Version, nil
}
