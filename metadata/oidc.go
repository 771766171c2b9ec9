package metadata

import (
	"context"
	"time"
)

// expiredSwept is how many expired rows go when one is added.
const expiredSwept = 100

var (
	insertOIDCState  = define("use oidc state", `INSERT INTO oidc_states (state_hash, expires_at) VALUES ($1, $2)`)
	expireOIDCStates = define("expire oidc states", `
		DELETE FROM oidc_states WHERE state_hash IN (SELECT state_hash FROM oidc_states WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`)

	insertOIDCOnboarding  = define("put oidc onboarding", `INSERT INTO oidc_onboardings (token_hash, person, expires_at) VALUES ($1, $2, $3)`)
	takeOIDCOnboarding    = define("take oidc onboarding", `DELETE FROM oidc_onboardings WHERE token_hash = $1 AND expires_at > $2 RETURNING person`)
	expireOIDCOnboardings = define("expire oidc onboardings", `
		DELETE FROM oidc_onboardings WHERE token_hash IN (
			SELECT token_hash FROM oidc_onboardings WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`)
)

// UseOIDCState notes that a login at a provider has ended; it is remembered until the login would have expired. It returns
// [ErrExists] when the login has ended before.
func (t *Tx) UseOIDCState(ctx context.Context, stateHash string, expires time.Time) error {
	if _, err := t.exec(ctx, expireOIDCStates, micros(now()), expiredSwept); err != nil {
		return err
	}
	_, err := t.exec(ctx, insertOIDCState, stateHash, micros(expires))
	return err
}

// PutOIDCOnboarding keeps somebody, sealed, until they choose a name or the time is over.
func (t *Tx) PutOIDCOnboarding(ctx context.Context, tokenHash string, person []byte, expires time.Time) error {
	if _, err := t.exec(ctx, expireOIDCOnboardings, micros(now()), expiredSwept); err != nil {
		return err
	}
	_, err := t.exec(ctx, insertOIDCOnboarding, tokenHash, person, micros(expires))
	return err
}

// TakeOIDCOnboarding returns who waits for a name, who then waits no more. It returns [ErrNotFound] when nobody does at that time.
func (t *Tx) TakeOIDCOnboarding(ctx context.Context, tokenHash string, at time.Time) ([]byte, error) {
	return one(ctx, t.Reader, takeOIDCOnboarding, value[[]byte], tokenHash, micros(at))
}
