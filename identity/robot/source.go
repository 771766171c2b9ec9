package robot

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
)

// fastHash begins the hash of a secret that was made here: it has some 115 random bits, so that nobody finds it by trying, and
// builds that log in for each step do not pay for slowness.
const fastHash = "sha256:"

// Verifier checks a password against the slow hash of one that a person has chosen; [local.Source] is one.
type Verifier interface {
	Verify(ctx context.Context, encoded, password string) (bool, error)
}

// SourceOptions set a [Source] up.
type SourceOptions struct {
	Store    *metadata.Store
	Verifier Verifier
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Source proves robots by their secrets. It is safe for concurrent use.
type Source struct {
	options SourceOptions
}

// NewSource returns the source of a store's robots.
func NewSource(options SourceOptions) *Source {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Source{options: options}
}

// Authenticate proves a robot; see [identity.Source]. A name with a dollar sign can be a robot's only, and is judged here. Every
// robot can be spelled with hyphens for dollar signs as well; as a user may be called like that, a wrong secret is then no more
// than an unknown name, and the next source is asked.
func (s *Source) Authenticate(ctx context.Context, credentials identity.Credentials) (identity.Principal, error) {
	find, refusal := s.options.Store.RobotByPlainName, identity.ErrUnknown
	if strings.Contains(credentials.Name, "$") {
		find, refusal = s.options.Store.RobotByName, identity.ErrCredentials
	}
	robot, err := find(ctx, credentials.Name)
	if errors.Is(err, metadata.ErrNotFound) {
		return identity.Principal{}, refusal
	}
	if err != nil {
		return identity.Principal{}, fmt.Errorf("read robot: %w", err)
	}
	right, err := s.verify(ctx, robot.SecretHash, credentials.Secret)
	switch {
	case err != nil:
		return identity.Principal{}, fmt.Errorf("check secret of robot %d: %w", robot.ID, err)
	case !right, robot.Disabled, !robot.ExpiresAt.IsZero() && !s.options.Now().Before(robot.ExpiresAt):
		return identity.Principal{}, refusal
	}
	return identity.Principal{
		Kind: identity.KindRobot, ID: robot.ID, Name: robot.Name, CredentialVersion: robot.SecretVersion, Permissions: identity.PermissionsOf(robot),
	}, nil
}

func (s *Source) verify(ctx context.Context, encoded, secret string) (bool, error) {
	if !strings.HasPrefix(encoded, fastHash) {
		return s.options.Verifier.Verify(ctx, encoded, secret)
	}
	return subtle.ConstantTimeCompare([]byte(hashFast(secret)), []byte(encoded)) == 1, nil
}

func hashFast(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return fastHash + hex.EncodeToString(sum[:])
}

var _ identity.Source = (*Source)(nil)
