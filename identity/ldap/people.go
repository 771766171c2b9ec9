package ldap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

// Users returns the people of the directory whose names have the part in them, [MaxFound] at most. The error is a [*fault.Error]
// when there is no directory, or it does not answer.
func (s *Source) Users(ctx context.Context, name string) ([]Person, error) {
	directory, err := s.directory(ctx)
	if err != nil {
		return nil, err
	}
	people, err := directory.people(ctx, name, false)
	return people, asked(err)
}

// Groups returns the groups of the directory whose names have the part in them, [MaxFound] at most, or the one of the distinguished
// name when that is given. The error is a [*fault.Error] when there is no directory, or it does not answer.
func (s *Source) Groups(ctx context.Context, name, dn string) ([]Group, error) {
	directory, err := s.directory(ctx)
	if err != nil {
		return nil, err
	}
	groups, err := directory.findGroups(ctx, name, dn)
	return groups, asked(err)
}

// asked makes a refusal of what the directory said no to.
func asked(err error) error {
	if err == nil || fault.Of(err) != 0 || errors.Is(err, context.Canceled) {
		return err
	}
	return fault.Because(err, fault.Unavailable, "the directory (LDAP) has refused the search: an administrator has to correct the settings")
}

// Import gives the person of the name a row before their first login, so that they can be made a member of projects; one who has it
// keeps it. The error is a [*fault.Error] when there is nobody of the name or somebody else has it here.
func (s *Source) Import(ctx context.Context, actor event.Actor, name string) (metadata.User, error) {
	directory, err := s.directory(ctx)
	if err != nil {
		return metadata.User{}, err
	}
	people, err := directory.people(ctx, name, true)
	switch {
	case err != nil:
		return metadata.User{}, asked(err)
	case len(people) == 0 || people[0].shutOut:
		return metadata.User{}, fault.New(fault.NotFound, "the directory has nobody called %q", name)
	case len(people) > 1:
		return metadata.User{}, fault.Because(errAmbiguous, fault.Conflict, "the directory has several people called %q", name)
	}
	user, err := s.admit(ctx, actor, directory, people[0])
	return user, asked(err)
}

// Probe is a configuration to be tried. Its other fields are those of the settings.
type Probe struct {
	URL, BaseDN, Filter, UID string
	SearchDN, SearchPassword string
	Scope                    int
	Timeout                  time.Duration
	VerifyCert               bool
}

// Ping tries the configured directory. The error is a [*fault.Error] that says what is wrong; it may name anything but passwords.
func (s *Source) Ping(ctx context.Context) error {
	values, err := s.options.Settings.Values(ctx)
	if err != nil {
		return err
	}
	config, on := configOf(values, s.options.Options)
	if !on {
		return errOff
	}
	return ping(ctx, config)
}

// PingWith tries another configuration. Without a password it takes the configured one, if it would go to the same place by the
// same name. The error is as Ping's.
func (s *Source) PingWith(ctx context.Context, probe Probe) error {
	values, err := s.options.Settings.Values(ctx)
	if err != nil {
		return err
	}
	config, _ := configOf(values, s.options.Options)
	same := probe.URL == config.URL && probe.SearchDN == config.SearchDN && (probe.VerifyCert || !config.VerifyCert)
	if probe.SearchPassword == "" && same {
		probe.SearchPassword = config.SearchPassword
	}
	config.URL, config.BaseDN, config.Filter = probe.URL, probe.BaseDN, probe.Filter
	config.SearchDN, config.SearchPassword, config.VerifyCert = probe.SearchDN, probe.SearchPassword, probe.VerifyCert
	config.Scope = probe.Scope
	if probe.UID != "" {
		config.UID = probe.UID
	}
	if probe.Timeout > 0 {
		config.Timeout = min(probe.Timeout, time.Minute)
	}
	if config.URL == "" {
		return fault.New(fault.Invalid, "%s is empty", setting.LDAPURL.Name)
	}
	return ping(ctx, config)
}

// ping tries a configuration on a connection of its own.
func ping(ctx context.Context, config Config) error {
	directory, err := newDirectory(config)
	if err != nil {
		return err
	}
	defer directory.close()
	err = directory.ping(ctx)
	if err == nil || fault.Of(err) == fault.Invalid {
		return err
	}
	cause := err
	if refusal, ok := errors.AsType[*fault.Error](err); ok && refusal.Err != nil {
		cause = refusal.Err
	}
	return fault.New(fault.Invalid, "%s: %v", directory.pool.transport.describe(), fmt.Errorf("%w", cause))
}
