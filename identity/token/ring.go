package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/oklog/ulid/v2"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/secret"
)

// KeyStore holds the signing keys of all gateways; [metadata.Store] is one.
type KeyStore interface {
	// SigningKeys returns every key that is stored.
	SigningKeys(ctx context.Context) ([]metadata.SigningKey, error)
	// Tx runs fn in a transaction, which adds a key.
	Tx(ctx context.Context, fn func(ctx context.Context, tx *metadata.Tx) error) error
}

// DefaultKeyLifetime is how long a key signs before the next one takes over.
const DefaultKeyLifetime = 30 * 24 * time.Hour

// reloadInterval bounds how often tokens with unknown key ids, which anybody can make, lead to the database.
const reloadInterval = time.Second

// RingOptions set a [Ring] up.
type RingOptions struct {
	Store KeyStore
	// Box seals the private keys.
	Box *secret.Box
	// KeyLifetime is how long a key signs; 0 means [DefaultKeyLifetime].
	KeyLifetime time.Duration
	// MaxTokenLifetime is how long the longest-lived token lives: a key verifies for that long after it stops signing.
	MaxTokenLifetime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Ring holds the keys that sign and verify tokens. Gateways share them through the database; a key that another gateway made
// is found when its first token arrives. It is safe for concurrent use.
type Ring struct {
	options RingOptions
	keys    atomic.Pointer[keySet]

	mu       sync.Mutex // held while keys are loaded or made
	reloaded time.Time
}

type keySet struct {
	byID    map[string]*key
	current *key // nil when none signs
}

type key struct {
	id                   string
	public               *ecdsa.PublicKey
	access, refresh      jose.Signer
	created              time.Time
	retiresAt, expiresAt time.Time
}

// OpenRing loads the keys and makes the first one when there is none. It returns an error when the database fails, or a
// stored key does not open because the master key is another one.
func OpenRing(ctx context.Context, options RingOptions) (*Ring, error) {
	if options.KeyLifetime == 0 {
		options.KeyLifetime = DefaultKeyLifetime
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	r := &Ring{options: options}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	if r.keys.Load().current == nil {
		if err := r.rotate(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// signing returns the key that signs now, making the next one when the last has retired.
func (r *Ring) signing(ctx context.Context) (*key, error) {
	now := r.options.Now()
	if current := r.keys.Load().current; current != nil && now.Before(current.retiresAt) {
		return current, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	if r.keys.Load().current == nil {
		if err := r.rotate(ctx); err != nil {
			return nil, err
		}
	}
	return r.keys.Load().current, nil
}

// verifying returns the key with the id; [ErrSignature] when no gateway has made such a key.
func (r *Ring) verifying(ctx context.Context, id string) (*key, error) {
	if k, found := r.keys.Load().byID[id]; found {
		return k, r.alive(k)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, found := r.keys.Load().byID[id]; found {
		return k, r.alive(k)
	}
	if r.options.Now().Sub(r.reloaded) >= reloadInterval {
		if err := r.load(ctx); err != nil {
			return nil, err
		}
	}
	if k, found := r.keys.Load().byID[id]; found {
		return k, r.alive(k)
	}
	return nil, ErrSignature
}

func (r *Ring) alive(k *key) error {
	if !r.options.Now().Before(k.expiresAt) {
		return ErrSignature
	}
	return nil
}

// load reads the keys. The newest that has not retired signs, the same on every gateway that has seen it.
func (r *Ring) load(ctx context.Context) error {
	now := r.options.Now()
	r.reloaded = now
	rows, err := r.options.Store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("load signing keys: %w", err)
	}
	set := &keySet{byID: map[string]*key{}}
	for _, row := range rows {
		if !now.Before(row.ExpiresAt) || row.Algorithm != string(jose.ES256) {
			continue
		}
		k, err := r.open(row)
		if err != nil {
			return fmt.Errorf("load signing key %s: %w", row.ID, err)
		}
		set.byID[k.id] = k
		if now.Before(k.retiresAt) && (set.current == nil || newer(k, set.current)) {
			set.current = k
		}
	}
	r.keys.Store(set)
	return nil
}

func newer(a, b *key) bool {
	if !a.created.Equal(b.created) {
		return a.created.After(b.created)
	}
	return a.id > b.id
}

// rotate makes a key and stores it before it signs anything, so that every gateway can find it.
func (r *Ring) rotate(ctx context.Context) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make signing key: %w", err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return fmt.Errorf("encode signing key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return fmt.Errorf("encode signing key: %w", err)
	}
	now := r.options.Now().UTC()
	row := metadata.SigningKey{
		ID: ulid.MustNew(ulid.Timestamp(now), rand.Reader).String(), Algorithm: string(jose.ES256), Public: public, CreatedAt: now,
		RetiresAt: now.Add(r.options.KeyLifetime),
	}
	row.ExpiresAt = row.RetiresAt.Add(r.options.MaxTokenLifetime + 2*Leeway)
	row.Private = r.options.Box.Seal(purpose(row.ID), encoded)
	err = r.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.PutSigningKey(ctx, row) })
	if err != nil {
		return fmt.Errorf("store signing key: %w", err)
	}
	return r.load(ctx)
}

func purpose(id string) string { return "token signing key " + id }

func (r *Ring) open(row metadata.SigningKey) (*key, error) {
	public, err := x509.ParsePKIXPublicKey(row.Public)
	if err != nil {
		return nil, fmt.Errorf("decode public key: %w", err)
	}
	verifying, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("public key is a %T, not an ECDSA key", public)
	}
	k := &key{id: row.ID, public: verifying, created: row.CreatedAt, retiresAt: row.RetiresAt, expiresAt: row.ExpiresAt}
	encoded, err := r.options.Box.Open(purpose(row.ID), row.Private)
	if err != nil {
		return nil, err
	}
	private, err := x509.ParseECPrivateKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("decode private key: %w", err)
	}
	if !private.PublicKey.Equal(verifying) {
		return nil, fmt.Errorf("public key does not belong to the private key")
	}
	if k.access, err = signer(row.ID, private, UseAccess); err != nil {
		return nil, err
	}
	k.refresh, err = signer(row.ID, private, UseRefresh)
	return k, err
}

func signer(id string, private *ecdsa.PrivateKey, use Use) (jose.Signer, error) {
	s, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: id}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(use)))
	if err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	return s, nil
}

// PublicKeys returns the keys that verify tokens now, as a JSON Web Key Set (RFC 7517), the newest first.
func (r *Ring) PublicKeys() jose.JSONWebKeySet {
	var keys []*key
	for _, k := range r.keys.Load().byID {
		if r.alive(k) == nil {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b *key) int {
		if newer(a, b) {
			return -1
		}
		return 1
	})
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set
}
