package oidc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/metadata"
)

// credential is through what these people prove themselves, for events.
const credential = "oidc"

// waiting is who has yet to choose a name.
type waiting struct {
	Person person
	Back   string
}

// admit lets a proven person in: with a session when they are a user or can become one right away, else to the choice of a name.
func (p *People) admit(ctx context.Context, actor event.Actor, auto bool, a attempt, person person, former string) (Outcome, error) {
	var outcome Outcome
	moved := false
	err := p.settled(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		outcome = Outcome{Name: person.Name, Back: a.Back}
		err := tx.UseOIDCState(ctx, hash(a.State), a.Expires)
		if errors.Is(err, metadata.ErrExists) {
			return fault.New(fault.Invalid, "this login has ended already: log in again")
		}
		if err != nil {
			return err
		}
		outcome.Taken, err = tx.UserExists(ctx, person.Name)
		if err != nil {
			return err
		}
		_, err = tx.UserByExternalID(ctx, Source, externalID(person.Issuer, person.Subject))
		known := err == nil
		if err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		if known || auto && !outcome.Taken && local.CheckName(person.Name) == nil {
			outcome.Session, moved, err = p.enter(ctx, tx, actor, person, person.Name, former)
			return err
		}
		outcome.Onboarding, err = p.wait(ctx, tx, waiting{person, a.Back})
		return err
	})
	if fault.Of(err) == fault.Forbidden {
		actor.Name, actor.Credential = person.Name, credential
		p.options.Sessions.Failed(ctx, actor)
	}
	if err != nil {
		return Outcome{}, p.refused(err)
	}
	p.entered(former, moved)
	return outcome, nil
}

// settled runs a transaction, and again when somebody else has taken a name that was free in it: it may have been the same person, in
// another tab.
func (p *People) settled(ctx context.Context, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	err := p.options.Store.Tx(ctx, fn)
	if fault.Of(err) == fault.Conflict {
		err = p.options.Store.Tx(ctx, fn)
	}
	return err
}

// Onboard lets a person in under the name that they have chosen, with the token of [Outcome]. It returns the token of their session
// and where they want to be. The error is a [*fault.Error]; when the name cannot be had, of the kind Invalid or Conflict, they can
// try another one with the same token.
func (p *People) Onboard(ctx context.Context, actor event.Actor, token, name, former string) (begun, back string, err error) {
	moved := false
	err = p.settled(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		sealed, err := tx.TakeOIDCOnboarding(ctx, hash(token), p.options.Now())
		if errors.Is(err, metadata.ErrNotFound) {
			return fault.New(fault.Precondition, "nobody waits for a name in this browser, or they have waited too long: log in again")
		}
		if err != nil {
			return err
		}
		opened, err := p.options.Box.Open("onboarding "+hash(token), sealed)
		if err != nil {
			return err
		}
		var w waiting
		if err := json.Unmarshal(opened, &w); err != nil {
			return err
		}
		if err := local.CheckName(name); err != nil {
			return fault.Because(err, fault.Invalid, "%s", err)
		}
		back = w.Back
		begun, moved, err = p.enter(ctx, tx, actor, w.Person, name, former)
		return err
	})
	if err != nil {
		return "", "", p.refused(err)
	}
	p.entered(former, moved)
	return begun, back, nil
}

// wait keeps who has yet to choose a name, and returns the token to do it with.
func (p *People) wait(ctx context.Context, tx *metadata.Tx, w waiting) (token string, err error) {
	encoded, err := json.Marshal(w)
	if err != nil {
		return "", err
	}
	token = rand.Text() + rand.Text()
	sealed := p.options.Box.Seal("onboarding "+hash(token), encoded)
	return token, tx.PutOIDCOnboarding(ctx, hash(token), sealed, p.options.Now().Add(OnboardingLifetime))
}

// enter brings the person's user up to date, or makes one with the name, and begins a session. It reports whether their groups have
// changed.
func (p *People) enter(ctx context.Context, tx *metadata.Tx, actor event.Actor, person person, name, former string) (token string, moved bool, err error) {
	user, err := tx.UserByExternalID(ctx, Source, externalID(person.Issuer, person.Subject))
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		user, err = p.create(ctx, tx, actor, person, name)
	case err == nil:
		user, moved, err = p.update(ctx, tx, actor, user.ID, person)
	}
	if err != nil {
		return "", false, err
	}
	actor.Name, actor.Credential = user.Name, credential
	token, err = p.options.Sessions.Begin(ctx, tx, actor, session.Beginning{
		UserID: user.ID, CredentialVersion: user.CredentialVersion, Former: former, IDToken: person.IDToken,
	})
	return token, moved, err
}

func (p *People) create(ctx context.Context, tx *metadata.Tx, actor event.Actor, person person, name string) (metadata.User, error) {
	user, err := tx.CreateUser(ctx, metadata.User{
		Name: name, Email: person.Email, RealName: person.RealName, Comment: "from " + person.Issuer,
		Source: Source, ExternalID: externalID(person.Issuer, person.Subject),
		DirectoryAdmin: person.Admin, DirectoryReadAt: p.options.Now(),
	})
	if errors.Is(err, metadata.ErrExists) {
		return metadata.User{}, fault.Because(err, fault.Conflict, "the name %q is taken: choose another", name)
	}
	if err != nil {
		return metadata.User{}, err
	}
	if _, err := p.join(ctx, tx, user.ID, person); err != nil {
		return metadata.User{}, err
	}
	return user, p.tell(ctx, tx, actor, event.UserCreated, user.Name)
}

func (p *People) update(ctx context.Context, tx *metadata.Tx, actor event.Actor, id int64, person person) (user metadata.User, moved bool, err error) {
	user, err = tx.LockUserByID(ctx, id)
	if err != nil {
		return metadata.User{}, false, err
	}
	if user.ShutOut() {
		return metadata.User{}, false, fault.New(fault.Forbidden, "the account %q is disabled", user.Name)
	}
	before := user
	user.Email, user.RealName, user.DirectoryAdmin = person.Email, person.RealName, person.Admin
	changed := user != before
	user.DirectoryReadAt = p.options.Now()
	if user, err = tx.UpdateUser(ctx, user); err != nil {
		return metadata.User{}, false, err
	}
	moved, err = p.join(ctx, tx, user.ID, person)
	if err != nil {
		return metadata.User{}, false, err
	}
	if changed || moved {
		err = p.tell(ctx, tx, actor, event.UserUpdated, user.Name)
	}
	return user, moved, err
}

// join makes the person a member of exactly the groups that the provider has told.
func (p *People) join(ctx context.Context, tx *metadata.Tx, id int64, person person) (changed bool, err error) {
	groups := make([]metadata.UserGroup, 0, len(person.Groups))
	for _, name := range person.Groups {
		groups = append(groups, metadata.UserGroup{Name: name, Kind: metadata.GroupOIDC})
	}
	if err := tx.EnsureUserGroups(ctx, metadata.GroupOIDC, groups); err != nil {
		return false, err
	}
	return tx.SetGroupMembers(ctx, id, metadata.GroupOIDC, person.Groups)
}

func (p *People) tell(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, name string) error {
	actor.Name, actor.Credential = name, credential
	e := actor.Event(kind)
	e.Subject = name
	return tx.AppendEvent(ctx, e)
}

// entered makes what a login has changed count at once in this process.
func (p *People) entered(former string, moved bool) {
	p.options.Accounts.Forget()
	if moved {
		p.options.Moved()
	}
	if former != "" {
		p.options.Sessions.Forget()
	}
}

// refused is an error as a refusal: what is none already is the database's.
func (p *People) refused(err error) error {
	if fault.Of(err) != 0 {
		return err
	}
	return fault.Because(fmt.Errorf("admit: %w", err), fault.Unavailable, "nobody can be logged in for the moment: try again")
}
