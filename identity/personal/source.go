package personal

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
)

// Authenticate proves a user by one of their tokens, or by their secret for command lines; see [identity.Source]. What looks like a
// token is judged here; other secrets of users without one of these are not known here.
func (t *Tokens) Authenticate(ctx context.Context, credentials identity.Credentials) (identity.Principal, error) {
	user, token, err := t.find(ctx, credentials)
	if err != nil {
		return identity.Principal{}, err
	}
	principal, err := t.options.Accounts.Check(ctx, identity.Principal{
		Kind: identity.KindUser, ID: user.ID, Name: user.Name, CredentialVersion: token.Version, TokenID: token.ID,
	})
	if errors.Is(err, identity.ErrVoid) {
		return identity.Principal{}, identity.ErrCredentials
	}
	if err != nil {
		return identity.Principal{}, fmt.Errorf("check access token %d: %w", token.ID, err)
	}
	t.note(token.ID)
	return principal, nil
}

// find returns the token that the credentials are, and its user.
func (t *Tokens) find(ctx context.Context, credentials identity.Credentials) (metadata.User, metadata.AccessToken, error) {
	user, err := t.options.Store.UserByName(ctx, credentials.Name)
	unknown := errors.Is(err, metadata.ErrNotFound)
	if err != nil && !unknown {
		return user, metadata.AccessToken{}, fmt.Errorf("read user: %w", err)
	}
	if !wellFormed(credentials.Secret) {
		if unknown || user.Source != sourceOIDC {
			return user, metadata.AccessToken{}, identity.ErrUnknown
		}
		token, err := t.commandLine(ctx, user, credentials.Secret)
		return user, token, err
	}
	token, err := t.options.Store.AccessTokenBySecret(ctx, hash(credentials.Secret))
	if errors.Is(err, metadata.ErrNotFound) || err == nil && (unknown || token.UserID != user.ID) {
		return user, token, identity.ErrCredentials
	}
	if err != nil {
		return user, token, fmt.Errorf("read access token: %w", err)
	}
	return user, token, nil
}

// commandLine returns the secret of a user for command lines, if it is the given one.
func (t *Tokens) commandLine(ctx context.Context, user metadata.User, secret string) (metadata.AccessToken, error) {
	token, err := t.options.Store.AccessTokenByName(ctx, user.ID, metadata.AccessTokenCLI, metadata.AccessTokenCLI)
	if errors.Is(err, metadata.ErrNotFound) {
		return token, identity.ErrUnknown
	}
	if err != nil {
		return token, fmt.Errorf("read secret for command lines: %w", err)
	}
	right, err := t.options.Verifier.Verify(ctx, token.SecretHash, secret)
	if err != nil {
		return token, fmt.Errorf("check secret for command lines of user %d: %w", user.ID, err)
	}
	if !right {
		return token, identity.ErrCredentials
	}
	return token, nil
}

var _ identity.Source = (*Tokens)(nil)
