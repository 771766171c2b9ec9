package token

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/berth-registry/berth/identity"
)

// The lifetimes that hold when none are configured, and the bounds of the first. Clients take a lifetime under a minute for
// a minute; and what a token carries should not be older than an hour. A refresh token is what docker keeps in place of the
// password and never renews.
const (
	DefaultLifetime        = 30 * time.Minute
	MinLifetime            = time.Minute
	MaxLifetime            = time.Hour
	DefaultRefreshLifetime = 90 * 24 * time.Hour
)

// issuer is who signs; audience is who the tokens are for.
const (
	issuer          = "berth"
	audienceAccess  = "berth-registry"
	audienceRefresh = "berth-token-service"
)

// maxTokenLength is the longest token that is looked at, in bytes: longer than servers accept in a header.
const maxTokenLength = 16 << 10

// verifiedTokens is how many verified tokens are remembered: about 1 KiB each.
const verifiedTokens = 8192

// Options set [Tokens] up.
type Options struct {
	Ring *Ring
	// Lifetime says how long an access token lives that is signed now; it is kept between [MinLifetime] and [MaxLifetime]. nil means
	// [DefaultLifetime].
	Lifetime func(ctx context.Context) time.Duration
	// RefreshLifetime is that of refresh tokens; 0 means [DefaultRefreshLifetime].
	RefreshLifetime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Tokens signs and verifies tokens. It is safe for concurrent use.
type Tokens struct {
	options  Options
	verified *lru.Cache[[sha256.Size]byte, *Claims]
}

// New returns the signer and verifier. It returns an error when the lifetime of refresh tokens is out of bounds.
func New(options Options) (*Tokens, error) {
	if options.Lifetime == nil {
		options.Lifetime = func(context.Context) time.Duration { return DefaultLifetime }
	}
	if options.RefreshLifetime == 0 {
		options.RefreshLifetime = DefaultRefreshLifetime
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.RefreshLifetime < MinLifetime || options.RefreshLifetime > options.Ring.options.MaxTokenLifetime {
		return nil, fmt.Errorf("refresh token lifetime %s is not between %s and %s, for which keys are kept",
			options.RefreshLifetime, MinLifetime, options.Ring.options.MaxTokenLifetime)
	}
	verified, err := lru.New[[sha256.Size]byte, *Claims](verifiedTokens)
	if err != nil {
		return nil, fmt.Errorf("make token cache: %w", err)
	}
	return &Tokens{options: options, verified: verified}, nil
}

// Ring returns the keys.
func (t *Tokens) Ring() *Ring { return t.options.Ring }

// Issue signs an access token for the principal. It returns an error only when there is no key to sign with.
func (t *Tokens) Issue(ctx context.Context, principal identity.Principal, credential string, access []Grant) (string, Claims, error) {
	claims := t.claims(principal, credential, min(max(t.options.Lifetime(ctx), MinLifetime), MaxLifetime))
	claims.Audience = audienceAccess
	claims.Access = access
	if claims.Access == nil {
		claims.Access = []Grant{}
	}
	k, err := t.options.Ring.signing(ctx)
	if err != nil {
		return "", Claims{}, err
	}
	signed, err := sign(k.access, claims)
	return signed, claims, err
}

// IssueRefresh signs a refresh token for the principal. It returns an error only when there is no key to sign with.
func (t *Tokens) IssueRefresh(ctx context.Context, principal identity.Principal) (string, error) {
	claims := t.claims(principal, "", t.options.RefreshLifetime)
	claims.Audience = audienceRefresh
	k, err := t.options.Ring.signing(ctx)
	if err != nil {
		return "", err
	}
	return sign(k.refresh, claims)
}

func (t *Tokens) claims(p identity.Principal, credential string, lifetime time.Duration) Claims {
	now := t.options.Now()
	return Claims{
		Issuer: issuer, Subject: p.Name, Expires: now.Add(lifetime).Unix(), NotBefore: now.Unix(), IssuedAt: now.Unix(),
		ID: rand.Text(), Kind: p.Kind, PrincipalID: p.ID, SystemAdmin: p.SystemAdmin, CredentialVersion: p.CredentialVersion,
		Credential: credential, TokenID: p.TokenID,
	}
}

func sign(signer jose.Signer, claims Claims) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	signature, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	compact, err := signature.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("encode token: %w", err)
	}
	return compact, nil
}

// Verify returns the claims of an access token, which are shared: callers must not change them. The error wraps [ErrInvalid]
// when the token is at fault; any other says that the keys could not be read.
func (t *Tokens) Verify(ctx context.Context, token string) (*Claims, error) {
	hash := sha256.Sum256([]byte(token))
	if claims, found := t.verified.Get(hash); found {
		if err := claims.check(issuer, audienceAccess, t.options.Now()); err != nil {
			t.verified.Remove(hash)
			return nil, err
		}
		return claims, nil
	}
	claims, err := t.verify(ctx, token, UseAccess, audienceAccess)
	if err != nil {
		return nil, err
	}
	t.verified.Add(hash, claims)
	return claims, nil
}

// VerifyRefresh returns the claims of a refresh token; its errors are those of [Tokens.Verify]. Whether the account still
// stands is the caller's to ask.
func (t *Tokens) VerifyRefresh(ctx context.Context, token string) (*Claims, error) {
	return t.verify(ctx, token, UseRefresh, audienceRefresh)
}

func (t *Tokens) verify(ctx context.Context, token string, use Use, audience string) (*Claims, error) {
	if len(token) > maxTokenLength {
		return nil, ErrMalformed
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		if _, other := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); other {
			return nil, ErrSignature
		}
		return nil, ErrMalformed
	}
	if len(signed.Signatures) != 1 {
		return nil, ErrMalformed
	}
	header := signed.Signatures[0].Protected
	if kind, _ := header.ExtraHeaders[jose.HeaderType].(string); kind != string(use) {
		return nil, ErrUse
	}
	k, err := t.options.Ring.verifying(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	payload, err := signed.Verify(k.public)
	if err != nil {
		return nil, ErrSignature
	}
	claims := new(Claims)
	if err := json.Unmarshal(payload, claims); err != nil {
		return nil, ErrMalformed
	}
	if err := claims.check(issuer, audience, t.options.Now()); err != nil {
		return nil, err
	}
	return claims, nil
}
