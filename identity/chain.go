package identity

import (
	"context"
	"errors"
)

// Chain asks sources in their order; the first to know the name decides.
type Chain []Source

// Authenticate returns the principal. It returns [ErrCredentials] when no source knows the name or the one that does refuses
// it, a [*ThrottledError] from whichever source throttles, and the error of a source that could not tell when none after it
// knew the name.
func (c Chain) Authenticate(ctx context.Context, credentials Credentials) (Principal, error) {
	var unavailable error
	for _, source := range c {
		principal, err := source.Authenticate(ctx, credentials)
		if err == nil {
			return principal, nil
		}
		if _, throttled := errors.AsType[*ThrottledError](err); throttled || errors.Is(err, ErrCredentials) {
			return Principal{}, err
		}
		if !errors.Is(err, ErrUnknown) && unavailable == nil {
			unavailable = err
		}
	}
	if unavailable != nil {
		return Principal{}, unavailable
	}
	return Principal{}, ErrCredentials
}
