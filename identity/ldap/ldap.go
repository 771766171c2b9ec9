// Package ldap proves people by a company's directory (LDAP): it looks them up, binds with their password, brings them in at their
// first login, and keeps their groups as old as [MembershipAge] at most.
package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

// SourceName is what [metadata.User.Source] says of people from the directory.
const SourceName = "ldap"

// How old the groups of a person may be: they are read again at a login and wherever a token or a session is used when they are
// older than MembershipAge; while the directory does not answer, what was read last counts for MembershipOutage.
const (
	MembershipAge    = 15 * time.Minute
	MembershipOutage = 24 * time.Hour
)

// SourceOptions set a [Source] up. Store and Settings are required.
type SourceOptions struct {
	Store    *metadata.Store
	Settings *setting.Settings
	// Options are what the configuration file says.
	Options Options
	// Accounts forget who was let in again; nil when there are none.
	Accounts *identity.Accounts
	// Moved is told that somebody's groups have changed; nil tells nobody.
	Moved  func()
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Source proves the people of the directory that the settings name; without ldap_url there is none, and the source knows nobody.
// Changed settings count at once. It is safe for concurrent use.
type Source struct {
	options SourceOptions

	mu      sync.Mutex
	current *directory
	closed  bool
}

// NewSource returns the source. Close it when nobody asks it any more.
func NewSource(options SourceOptions) *Source {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Moved == nil {
		options.Moved = func() {}
	}
	return &Source{options: options}
}

// Close ends the connections.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.current != nil {
		s.current.close()
		s.current = nil
	}
	return nil
}

// errOff says that no directory is configured.
var errOff = fault.New(fault.Invalid, "no directory is configured: set ldap_url first")

// directory returns the directory of the present settings. The error is errOff, or another [*fault.Error] when the settings cannot
// be meant as they are.
func (s *Source) directory(ctx context.Context) (*directory, error) {
	values, err := s.options.Settings.Values(ctx)
	if err != nil {
		return nil, err
	}
	config, on := configOf(values, s.options.Options)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && (!on || s.current.config != config) {
		s.current.close()
		s.current = nil
	}
	switch {
	case !on:
		return nil, errOff
	case s.current != nil:
		return s.current, nil
	case s.closed:
		return nil, unavailable(errors.New("the source is closed"))
	}
	s.current, err = newDirectory(config)
	if err != nil {
		return nil, fault.Because(err, fault.Unavailable, "the settings of the directory (LDAP) are not usable: an administrator has to correct them")
	}
	return s.current, nil
}

// Authenticate proves a person; see [identity.Source]. Who comes for the first time gets a row. A person whose name a user of
// another source has is refused, and the log says so.
func (s *Source) Authenticate(ctx context.Context, credentials identity.Credentials) (identity.Principal, error) {
	directory, err := s.directory(ctx)
	if errors.Is(err, errOff) || err == nil && local.CheckName(credentials.Name) != nil {
		return identity.Principal{}, identity.ErrUnknown
	}
	if err != nil {
		return identity.Principal{}, err
	}
	if credentials.Secret == "" {
		return identity.Principal{}, identity.ErrCredentials // many servers take a bind without a password for an anonymous one
	}
	person, err := directory.prove(ctx, credentials.Name, credentials.Secret)
	if errors.Is(err, errAmbiguous) {
		s.options.Logger.WarnContext(ctx, "directory: login refused", "user", credentials.Name, "error", err)
		return identity.Principal{}, identity.ErrCredentials
	}
	if err != nil {
		return identity.Principal{}, fmt.Errorf("ask the directory for %q: %w", credentials.Name, err)
	}
	if person == nil {
		return identity.Principal{}, identity.ErrCredentials
	}
	user, err := s.admit(ctx, event.Actor{Name: person.Name, Credential: SourceName, Address: credentials.Address}, directory, *person)
	if refusal, ok := errors.AsType[*fault.Error](err); ok && refusal.Kind != fault.Unavailable {
		s.options.Logger.WarnContext(ctx, "directory: login refused", "user", credentials.Name, "dn", person.DN, "error", err)
		return identity.Principal{}, identity.ErrCredentials
	}
	if err != nil {
		return identity.Principal{}, err
	}
	if user.Disabled {
		return identity.Principal{}, identity.ErrCredentials
	}
	return identity.Principal{
		Kind: identity.KindUser, ID: user.ID, Name: user.Name, SystemAdmin: user.Administers(), CredentialVersion: user.CredentialVersion,
	}, nil
}

// admit returns the row of a person whom the directory lets in, with groups that are no older than [MembershipAge], and makes it at
// their first login. The error is a [*fault.Error] when they cannot have one.
func (s *Source) admit(ctx context.Context, actor event.Actor, directory *directory, person Person) (metadata.User, error) {
	user, err := s.tryToAdmit(ctx, actor, directory, person)
	if errors.Is(err, metadata.ErrExists) { // somebody else has brought them in just now
		return s.tryToAdmit(ctx, actor, directory, person)
	}
	return user, err
}

func (s *Source) tryToAdmit(ctx context.Context, actor event.Actor, directory *directory, person Person) (metadata.User, error) {
	user, err := s.row(ctx, directory, person)
	if err != nil {
		return metadata.User{}, err
	}
	if user.ID != 0 && !user.DirectoryGone && user.ExternalID == person.DN && s.age(user) < MembershipAge {
		return user, nil
	}
	read, err := directory.memberships(ctx, person)
	if err != nil {
		if user.ID != 0 && !user.DirectoryGone && s.age(user) < MembershipOutage {
			s.options.Logger.WarnContext(ctx, "directory: groups are not read, the last ones count", "user", user.Name, "error", err)
			return user, nil
		}
		return metadata.User{}, fmt.Errorf("read groups of %q: %w", person.Name, err)
	}
	return s.store(ctx, actor, user, person, read)
}

func (s *Source) age(user metadata.User) time.Duration {
	return s.options.Now().Sub(user.DirectoryReadAt)
}

// row returns the person's row, or one without an id when they have none. The error is a [*fault.Error] when somebody else has
// their name.
func (s *Source) row(ctx context.Context, directory *directory, person Person) (metadata.User, error) {
	user, err := s.options.Store.UserByExternalID(ctx, SourceName, person.DN)
	if err == nil || !errors.Is(err, metadata.ErrNotFound) {
		return user, err
	}
	user, err = s.options.Store.UserByName(ctx, person.Name)
	if errors.Is(err, metadata.ErrNotFound) {
		return metadata.User{Name: person.Name, Source: SourceName}, local.CheckName(person.Name)
	}
	if err != nil {
		return metadata.User{}, err
	}
	if user.Source != SourceName {
		return metadata.User{}, fault.New(fault.Conflict, "the name %q is that of a user of the source %s, who comes first", person.Name, user.Source)
	}
	if user.ExternalID == person.DN {
		return user, nil // brought in by another login since the first look
	}
	// The entry was moved, unless the other one is still there.
	exists, err := directory.exists(ctx, user.ExternalID)
	if err != nil {
		return metadata.User{}, err
	}
	if exists {
		return metadata.User{}, fault.New(fault.Conflict, "the name %q is that of %s in the directory", person.Name, user.ExternalID)
	}
	return user, nil
}

// store writes what the directory says of a person, with the events of what has changed.
func (s *Source) store(ctx context.Context, actor event.Actor, known metadata.User, person Person, read membership) (metadata.User, error) {
	groups := make([]metadata.UserGroup, 0, len(read.groups))
	keys := make([]string, 0, len(read.groups))
	for _, group := range read.groups {
		groups = append(groups, metadata.UserGroup{Name: group.Name, Kind: metadata.GroupLDAP, DN: group.DN, Key: group.Key})
		keys = append(keys, group.Key)
	}
	var user metadata.User
	var moved, returned bool
	err := s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
		user = known
		if user.ID == 0 {
			// Another login may have made the row in a transaction that readers do not see yet.
			switch met, err := tx.UserByExternalID(ctx, SourceName, person.DN); {
			case err == nil:
				user = met
			case !errors.Is(err, metadata.ErrNotFound):
				return err
			}
		}
		created := user.ID == 0
		if !created {
			if user, err = tx.LockUserByID(ctx, user.ID); err != nil {
				return err
			}
		}
		before := user
		user.ExternalID, user.DirectoryAdmin, user.DirectoryGone, user.DirectoryReadAt = person.DN, read.admin, false, s.options.Now()
		user.Email, user.RealName = person.Email, person.RealName
		if created {
			user, err = tx.CreateUser(ctx, user)
		} else {
			user, err = tx.UpdateUser(ctx, user)
		}
		if err != nil {
			return err
		}
		if err := tx.EnsureUserGroups(ctx, metadata.GroupLDAP, groups); err != nil {
			return err
		}
		if moved, err = tx.SetGroupMembers(ctx, user.ID, metadata.GroupLDAP, keys); err != nil {
			return err
		}
		returned = before.DirectoryGone
		switch {
		case created:
			return appendEvent(ctx, tx, actor, event.UserCreated, user)
		case moved || returned || before.DirectoryAdmin != user.DirectoryAdmin || before.Email != user.Email ||
			before.RealName != user.RealName || before.ExternalID != user.ExternalID:
			return appendEvent(ctx, tx, actor, event.UserUpdated, user)
		}
		return nil
	})
	if errors.Is(err, metadata.ErrExists) {
		return metadata.User{}, fault.Because(err, fault.Conflict, "the name %q was taken by somebody else in this moment", person.Name)
	}
	if err != nil {
		return metadata.User{}, fmt.Errorf("keep %q of the directory: %w", person.Name, err)
	}
	if moved {
		s.options.Moved()
	}
	if returned && s.options.Accounts != nil {
		s.options.Accounts.Forget()
	}
	return user, nil
}

// itself is who acts when nobody has logged in.
func (s *Source) itself() event.Actor { return event.Actor{Name: SourceName, Credential: SourceName} }

func appendEvent(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, user metadata.User) error {
	e := actor.Event(kind)
	e.Subject = user.Name
	return tx.AppendEvent(ctx, e)
}

// Reread brings a row of the directory up to date when its groups are older than [MembershipAge], for people who come by a token or
// a session; see [identity.Directory]. While the directory does not answer, the row is returned as it is, for [MembershipOutage].
func (s *Source) Reread(ctx context.Context, user metadata.User) (metadata.User, error) {
	directory, err := s.directory(ctx)
	if errors.Is(err, errOff) {
		return metadata.User{}, identity.ErrVoid
	}
	if s.age(user) < MembershipAge {
		return user, nil
	}
	var reread metadata.User
	if err == nil {
		reread, err = s.reread(ctx, directory, user)
	}
	if err != nil && s.age(user) < MembershipOutage && ctx.Err() == nil {
		s.options.Logger.WarnContext(ctx, "directory: groups are not read, the last ones count", "user", user.Name, "error", err)
		return user, nil
	}
	return reread, err
}

func (s *Source) reread(ctx context.Context, directory *directory, user metadata.User) (metadata.User, error) {
	person, err := directory.look(ctx, user.ExternalID, user.Name)
	if err != nil {
		return metadata.User{}, err
	}
	if person == nil {
		return s.dismiss(ctx, user)
	}
	read, err := directory.memberships(ctx, *person)
	if err != nil {
		return metadata.User{}, err
	}
	return s.store(ctx, s.itself(), user, *person, read)
}

// dismiss shuts out a person whom the directory has no more.
func (s *Source) dismiss(ctx context.Context, user metadata.User) (metadata.User, error) {
	err := s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if user, err = tx.LockUserByID(ctx, user.ID); err != nil {
			return err
		}
		before := user
		user.DirectoryGone, user.DirectoryAdmin, user.DirectoryReadAt = true, false, s.options.Now()
		if user, err = tx.UpdateUser(ctx, user); err != nil {
			return err
		}
		if _, err = tx.SetGroupMembers(ctx, user.ID, metadata.GroupLDAP, nil); err != nil || before.DirectoryGone {
			return err
		}
		return appendEvent(ctx, tx, s.itself(), event.UserUpdated, user)
	})
	if err != nil {
		return metadata.User{}, fmt.Errorf("shut out %q of the directory: %w", user.Name, err)
	}
	s.options.Moved()
	return user, nil
}

var _ identity.Source = (*Source)(nil)
