package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

// maxToken is the longest ID token that is read, in bytes.
const maxToken = 16 << 10

// AuthenticateToken proves the bearer of an ID token of the provider; see [identity.TokenSource]. Who has never logged in in a
// browser is no user and so unknown. What their groups are is what they were at the last login.
func (p *People) AuthenticateToken(ctx context.Context, raw string) (identity.Principal, error) {
	values, err := p.options.Settings.Values(ctx)
	if err != nil {
		return identity.Principal{}, fmt.Errorf("read settings: %w", err)
	}
	if !configured(values) || issuer(raw) != values.Text(setting.OIDCEndpoint) {
		return identity.Principal{}, identity.ErrUnknown
	}
	provider, _, err := p.provider(ctx)
	if err != nil {
		return identity.Principal{}, err
	}
	verified, err := provider.verify(ctx, raw)
	if fault.Of(err) != 0 {
		return identity.Principal{}, err
	}
	if err != nil {
		return identity.Principal{}, identity.ErrCredentials
	}
	user, err := p.options.Store.UserByExternalID(ctx, Source, externalID(verified.Issuer, verified.Subject))
	if errors.Is(err, metadata.ErrNotFound) {
		return identity.Principal{}, identity.ErrUnknown
	}
	if err != nil {
		return identity.Principal{}, fault.Because(err, fault.Unavailable, "who you are cannot be told for the moment: try again")
	}
	if user.ShutOut() {
		return identity.Principal{}, identity.ErrCredentials
	}
	return identity.Principal{
		Kind: identity.KindUser, ID: user.ID, Name: user.Name, SystemAdmin: user.Administers(), CredentialVersion: user.CredentialVersion,
	}, nil
}

// issuer is who a token says it is from, "" when it does not. That is not to be believed, and saves asking the provider about
// tokens that are not even said to be its own.
func issuer(raw string) string {
	if len(raw) > maxToken {
		return ""
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var said struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &said); err != nil {
		return ""
	}
	return said.Issuer
}
