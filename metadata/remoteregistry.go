package metadata

import (
	"context"
	"fmt"
	"time"
)

// RemoteRegistry is a registry elsewhere, which is copied to, from, or cached.
type RemoteRegistry struct {
	ID   int64
	Name string
	// URL is its address, such as https://registry.example.com.
	URL string
	// Kind is the kind of registry that it is, such as "harbor".
	Kind        string
	Description string
	// Login is how it is logged in to, "basic" for a name and secret; Username is the name, and Secret is sealed, nil for none.
	Login, Username string
	Secret          []byte
	// Insecure trusts whatever certificate it has, CACertificate has authorities to trust besides the machine's, in PEM.
	Insecure      bool
	CACertificate string
	// Status is "healthy" or "unhealthy", as it was at the last look.
	Status    string
	CreatedAt time.Time
	UpdatedAt time.Time
}

const remoteRegistryColumns = `id, name, url, kind, description, login, username, secret, insecure, ca_certificate, status, created_at, updated_at`

var (
	remoteRegistryByID   = define("registry", `SELECT `+remoteRegistryColumns+` FROM registries WHERE id = $1`)
	lockRemoteRegistry   = define("lock registry", `SELECT id FROM registries WHERE id = $1 {for update}`)
	insertRemoteRegistry = define("create registry", `
		INSERT INTO registries (name, url, kind, description, login, username, secret, insecure, ca_certificate, status, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) RETURNING `+remoteRegistryColumns)
	updateRemoteRegistry = define("update registry", `
		UPDATE registries SET name = $2, url = $3, description = $4, login = $5, username = $6, secret = $7, insecure = $8, ca_certificate = $9,
			status = $10, updated_at = $11 WHERE id = $1`)
	setRemoteRegistryStatus = define("set status of registry", `UPDATE registries SET status = $2 WHERE id = $1`)
	deleteRemoteRegistry    = define("delete registry", `DELETE FROM registries WHERE id = $1`)
	cachesOfRegistry        = define("projects that are caches of registry", `SELECT name FROM projects WHERE registry_id = $1 ORDER BY name LIMIT 1`)
	policiesOfRegistry      = define("policies of registry", `
		SELECT name FROM replication_policies WHERE source_id = $1 UNION ALL SELECT name FROM replication_policies WHERE destination_id = $1 LIMIT 1`)
)

func scanRemoteRegistry(r row, v *RemoteRegistry) error {
	return r.Scan(&v.ID, &v.Name, &v.URL, &v.Kind, &v.Description, &v.Login, &v.Username, &v.Secret, &v.Insecure, &v.CACertificate, &v.Status,
		moment{&v.CreatedAt}, moment{&v.UpdatedAt})
}

var remoteRegistryListing = &listing[RemoteRegistry]{
	name: "list registries", columns: remoteRegistryColumns, from: "registries", key: "id", order: "name, id", scan: scanRemoteRegistry,
	fields: map[string]field{
		"id": {"id", numberField}, "name": {"name", textField}, "url": {"url", textField}, "type": {"kind", textField}, "status": {"status", textField},
		"description": {"description", textField}, "insecure": {"insecure", switchField},
		"creation_time": {"created_at", momentField}, "update_time": {"updated_at", momentField},
	},
}

// RemoteRegistry returns a registry elsewhere, or [ErrNotFound].
func (r Reader) RemoteRegistry(ctx context.Context, id int64) (RemoteRegistry, error) {
	return one(ctx, r, remoteRegistryByID, scanRemoteRegistry, id)
}

// ListRemoteRegistries returns a page of the registries elsewhere, by name unless the query orders otherwise, and the number on all
// pages. The error wraps [ErrQuery] when they cannot be filtered like that.
func (r Reader) ListRemoteRegistries(ctx context.Context, q Query) ([]RemoteRegistry, int64, error) {
	return remoteRegistryListing.list(ctx, r, q, kept("registries", 0), "")
}

// CreateRemoteRegistry adds a registry and returns the row. It returns [ErrExists] when the name is taken.
func (t *Tx) CreateRemoteRegistry(ctx context.Context, v RemoteRegistry) (RemoteRegistry, error) {
	created, err := one(ctx, t.Reader, insertRemoteRegistry, scanRemoteRegistry, v.Name, v.URL, v.Kind, v.Description, v.Login, v.Username, v.Secret,
		v.Insecure, v.CACertificate, v.Status, micros(now()))
	if err != nil {
		return RemoteRegistry{}, fmt.Errorf("registry %q: %w", v.Name, err)
	}
	return created, nil
}

// UpdateRemoteRegistry writes everything of a registry but its kind. It returns [ErrNotFound], or [ErrExists] when the new name is
// taken.
func (t *Tx) UpdateRemoteRegistry(ctx context.Context, v RemoteRegistry) error {
	err := t.execOne(ctx, updateRemoteRegistry, v.ID, v.Name, v.URL, v.Description, v.Login, v.Username, v.Secret, v.Insecure, v.CACertificate,
		v.Status, micros(now()))
	if err != nil {
		return fmt.Errorf("registry %q: %w", v.Name, err)
	}
	return nil
}

// SetRemoteRegistryStatus notes how a registry was found, or returns [ErrNotFound].
func (t *Tx) SetRemoteRegistryStatus(ctx context.Context, id int64, status string) error {
	return t.execOne(ctx, setRemoteRegistryStatus, id, status)
}

// DeleteRemoteRegistry removes a registry. It returns [ErrNotFound], or [ErrReferenced] when a policy has it or a project is a cache of it.
func (t *Tx) DeleteRemoteRegistry(ctx context.Context, id int64) error {
	if _, err := one(ctx, t.Reader, lockRemoteRegistry, value[int64], id); err != nil {
		return fmt.Errorf("registry %d: %w", id, err)
	}
	policies, err := all(ctx, t.Reader, policiesOfRegistry, value[string], id)
	if err != nil {
		return err
	}
	caches, err := all(ctx, t.Reader, cachesOfRegistry, value[string], id)
	if err != nil {
		return err
	}
	if len(caches) > 0 {
		return fmt.Errorf("project %q is a cache of the registry: %w", caches[0], ErrReferenced)
	}
	if len(policies) > 0 {
		return fmt.Errorf("replication policy %q has the registry: %w", policies[0], ErrReferenced)
	}
	return t.execOne(ctx, deleteRemoteRegistry, id)
}
