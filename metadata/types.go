package metadata

import (
	"errors"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/oci"
)

// The kinds of error that callers tell apart; every other error is a fault of the database.
var (
	// ErrNotFound says that no row answers to that name.
	ErrNotFound = errors.New("not found")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("already exists")
	// ErrConflict says that the row was changed by somebody else since it was read.
	ErrConflict = errors.New("changed by another writer")
	// ErrQuery says that a listing cannot be filtered like that; the message says why.
	ErrQuery = errors.New("malformed query")
	// ErrReferenced says that something still refers to the row.
	ErrReferenced = errors.New("still referenced")
)

// User is a person with a name of their own in the registry.
type User struct {
	ID       int64
	Name     string
	Email    string
	RealName string
	// PasswordHash is an encoded argon2id hash; empty for a person whom another source proves.
	PasswordHash string
	SystemAdmin  bool
	Disabled     bool
	Comment      string
	// Source says who proves the user: "local", "ldap" or "oidc"; ExternalID is the user's name there, "" for local users.
	Source     string
	ExternalID string
	// DirectoryAdmin tells that a group of the user's makes system administrators; DirectoryReadAt is when the groups were read.
	DirectoryAdmin  bool
	DirectoryReadAt time.Time
	// DirectoryGone tells that the directory has the user no more, or has shut them out.
	DirectoryGone bool
	// CredentialVersion grows when the password changes or the user is disabled or gone; what was signed for an earlier version is
	// void.
	CredentialVersion int64
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

// Administers reports whether the user is a system administrator, by their own flag or through a group.
func (u User) Administers() bool { return u.SystemAdmin || u.DirectoryAdmin }

// ShutOut reports whether the user may not log in, by an administrator's word or by the directory's.
func (u User) ShutOut() bool { return u.Disabled || u.DirectoryGone }

// The kinds of [UserGroup], by Harbor's numbers.
const (
	GroupLDAP = 1
	GroupHTTP = 2
	GroupOIDC = 3
)

// UserGroup is a group of users that comes from outside; its members are those who were in it at their last login.
type UserGroup struct {
	ID   int64
	Name string
	Kind int
	// DN is the distinguished name of an LDAP group as it was given, "" for other kinds.
	DN string
	// Key is by what the group is known where it comes from, in one spelling; empty stands for the name.
	Key       string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Project is the namespace before the first slash of a repository's name, and the unit of permission.
type Project struct {
	ID      int64
	Name    string
	Public  bool
	OwnerID int64
	// RegistryID is that of the registry elsewhere that the project is a cache of, 0 for none.
	RegistryID int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Member is the role of a user or a group in a project.
type Member struct {
	ID        int64
	ProjectID int64
	// UserID is 0 for a group, GroupID for a user.
	UserID  int64
	GroupID int64
	// Name is that of the user or group.
	Name string
	// RoleID is Harbor's: 1 projectAdmin, 2 developer, 3 guest, 4 maintainer, 5 limitedGuest.
	RoleID    int
	CreatedAt time.Time
}

// Repository is a name under which manifests, tags and blob links live.
type Repository struct {
	ID          int64
	ProjectID   int64
	Name        oci.Repository
	Description string
	// ArtifactCount is the number of artifacts that a list of them shows.
	ArtifactCount int64
	PullCount     int64
	LastPulledAt  time.Time // zero when never pulled
	CreatedAt     time.Time
	// UpdatedAt is when last something was pushed to it, or its tags, artifacts or description changed; pulls change nothing.
	UpdatedAt time.Time
}

// Blob is stored bytes known by their digest.
type Blob struct {
	Digest oci.Digest
	Size   int64
	// StorageKey is the object that holds the bytes; it is never used for other bytes.
	StorageKey string
	CreatedAt  time.Time
}

// Manifest is a manifest of one repository, with its exact bytes.
type Manifest struct {
	ID           int64
	RepositoryID int64
	Digest       oci.Digest
	MediaType    string
	ArtifactType string
	Annotations  map[string]string
	// Subject is the digest that the manifest refers to, which need not exist; empty when it refers to none.
	Subject oci.Digest
	// Payload is nil where a listing has no use for it; Size is always set.
	Payload    []byte
	Size       int64
	References []oci.ManifestReference
	CreatedAt  time.Time
	// Facts are written with the manifest, and read by the queries of artifacts only.
	Facts Facts
}

// Upload is an upload session.
type Upload struct {
	ID           string
	RepositoryID int64
	Repository   oci.Repository
	// Offset is the number of acknowledged bytes.
	Offset int64
	// StorageState is what the storage backend resumes from; nil before the first byte.
	StorageState []byte
	// Hashes are the running states by algorithm, at Offset.
	Hashes map[oci.Algorithm][]byte
	// Version grows with every change; see [Tx.UpdateUpload].
	Version   int64
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// SigningKey is a token signing key; Private is sealed.
type SigningKey struct {
	ID        string
	Algorithm string
	Private   []byte
	Public    []byte
	CreatedAt time.Time
	// RetiresAt is when it stops signing, ExpiresAt when it stops verifying.
	RetiresAt time.Time
	ExpiresAt time.Time
}

// Visibility says whose view a listing is: what a caller may not see is not in it, and costs the page nothing.
type Visibility struct {
	// All is for system administrators.
	All bool
	// UserID sees public projects and those they are a member of; 0, the anonymous caller, sees public ones.
	UserID int64
	// Projects are the names of projects that are seen besides: those of a robot account, or of a limited access token.
	Projects []string
}

// names returns the projects as a parameter of {texts}.
func (v Visibility) names() string {
	encoded, err := texts(v.Projects)
	if err != nil {
		panic(err) // texts always marshal
	}
	return encoded
}

// Pulls are buffered counters of what was pulled from one repository.
type Pulls struct {
	Repository oci.Repository
	// Digest is that of the manifest, Tag the one it was pulled by, "" for none.
	Digest oci.Digest
	Tag    string
	Count  int64
	LastAt time.Time
}

// Event is a stored [event.Event].
type Event struct {
	ID int64
	// Transaction is the database's number of the transaction that wrote it; see [EventCursor].
	Transaction int64
	// ProjectID is that of the event's project when it was written, 0 when there was none of that name: another project may be
	// called so later.
	ProjectID int64
	event.Event
}
