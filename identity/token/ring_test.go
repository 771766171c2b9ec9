package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/secret"
)

// putKey stores a key as another gateway would.
func putKey(t *testing.T, store *metadata.Store, c *clock, private *ecdsa.PrivateKey) string {
	t.Helper()
	encoded, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	require.NoError(t, err)
	box, err := secret.New(master("k"))
	require.NoError(t, err)
	id := ulid.MustNew(ulid.Now(), rand.Reader).String()
	row := metadata.SigningKey{
		ID: id, Algorithm: "ES256", Public: public, Private: box.Seal("token signing key "+id, encoded), CreatedAt: c.now(),
		RetiresAt: c.now().Add(time.Hour), ExpiresAt: c.now().Add(2 * time.Hour),
	}
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error { return tx.PutSigningKey(ctx, row) }))
	return id
}

// counted counts how often the keys are read.
type counted struct {
	*metadata.Store
	reads atomic.Int64
}

func (c *counted) SigningKeys(ctx context.Context) ([]metadata.SigningKey, error) {
	c.reads.Add(1)
	return c.Store.SigningKeys(ctx)
}

func TestRing_sharedByGateways(t *testing.T) {
	c := newClock()
	store := sqlitetest.Open(t)
	first, second := gateway(t, store, c), gateway(t, store, c)
	signed := issue(t, first)
	_, err := second.Verify(t.Context(), signed)
	require.NoError(t, err)
	require.Len(t, first.Ring().PublicKeys().Keys, 1, "the second gateway took the first one's key")
}

func TestRing_privateKeysAreSealed(t *testing.T) {
	store := sqlitetest.Open(t)
	gateway(t, store, newClock())
	keys, err := store.SigningKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 1)
	_, err = x509.ParseECPrivateKey(keys[0].Private)
	require.Error(t, err)

	_, err = tryGateway(t.Context(), store, newClock(), "x")
	require.ErrorIs(t, err, secret.ErrOpen)
	require.ErrorContains(t, err, "restore the master key")
}

func TestRing_rotatesWithOverlap(t *testing.T) {
	c := newClock()
	store := sqlitetest.Open(t)
	tokens, other := gateway(t, store, c), gateway(t, store, c)
	refresh, err := tokens.IssueRefresh(t.Context(), alice)
	require.NoError(t, err)

	c.advance(token.DefaultKeyLifetime + time.Second)
	signed := issue(t, tokens)
	require.Len(t, tokens.Ring().PublicKeys().Keys, 2, "the old key still verifies")
	_, err = other.Verify(t.Context(), signed)
	require.NoError(t, err, "another gateway finds the new key by its id")
	_, err = tokens.VerifyRefresh(t.Context(), refresh)
	require.NoError(t, err)

	c.advance(token.DefaultRefreshLifetime)
	_, err = tokens.VerifyRefresh(t.Context(), refresh)
	require.ErrorIs(t, err, token.ErrInvalid)
	c.advance(3 * token.Leeway)
	issue(t, tokens)
	for _, public := range tokens.Ring().PublicKeys().Keys {
		require.True(t, public.IsPublic())
	}
	require.Len(t, tokens.Ring().PublicKeys().Keys, 2, "the first key is gone, the second verifies, the third signs")
}

func TestRing_unknownKeysReloadOnceASecond(t *testing.T) {
	c := newClock()
	store := &counted{Store: sqlitetest.Open(t)}
	tokens := gateway(t, store, c)
	forged := make([]string, 20)
	for i := range forged {
		forged[i] = issue(t, gateway(t, sqlitetest.Open(t), c))
	}
	c.advance(2 * time.Second)
	before := store.reads.Load()
	var group sync.WaitGroup
	for _, signed := range forged {
		group.Go(func() {
			if _, err := tokens.Verify(t.Context(), signed); err == nil {
				t.Error("a foreign token was accepted")
			}
		})
	}
	group.Wait()
	require.Equal(t, before+1, store.reads.Load())
}

func TestRing_gatewaysThatStartTogether(t *testing.T) {
	c := newClock()
	store := sqlitetest.Open(t)
	gateways := make([]*token.Tokens, 8)
	var group sync.WaitGroup
	for i := range gateways {
		group.Go(func() {
			var err error
			if gateways[i], err = tryGateway(t.Context(), store, c, "k"); err != nil {
				t.Errorf("open: %v", err)
			}
		})
	}
	group.Wait()
	c.advance(2 * time.Second)
	for _, signer := range gateways {
		signed := issue(t, signer)
		for _, verifier := range gateways {
			_, err := verifier.Verify(t.Context(), signed)
			require.NoError(t, err)
			c.advance(2 * time.Second)
		}
	}
}

func TestRing_publicKeysVerifyElsewhere(t *testing.T) {
	tokens := gateway(t, sqlitetest.Open(t), newClock())
	document, err := json.Marshal(tokens.Ring().PublicKeys())
	require.NoError(t, err)
	require.NotContains(t, string(document), `"d":`)
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(document, &set))
	signed, err := jose.ParseSignedCompact(issue(t, tokens), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	_, err = signed.Verify(set.Key(signed.Signatures[0].Header.KeyID)[0])
	require.NoError(t, err)
}

func TestRing_databaseDown(t *testing.T) {
	c := newClock()
	store := sqlitetest.Open(t)
	tokens := gateway(t, store, c)
	signed := issue(t, tokens)
	foreign := issue(t, gateway(t, sqlitetest.Open(t), c))
	require.NoError(t, store.Close())
	c.advance(2 * time.Second)

	_, err := tokens.Verify(t.Context(), signed)
	require.NoError(t, err, "known keys need no database")
	_, err = tokens.Verify(t.Context(), foreign)
	require.Error(t, err)
	require.NotErrorIs(t, err, token.ErrInvalid, "nobody can tell whether another gateway made that key")
	issue(t, tokens)
}

func BenchmarkIssue(b *testing.B) {
	tokens := gateway(b, sqlitetest.Open(b), newClock())
	grants := []token.Grant{{Type: "repository", Name: "library/app", Actions: []string{"pull", "push"}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := tokens.Issue(b.Context(), alice, "basic", grants); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	c := newClock()
	tokens := gateway(b, sqlitetest.Open(b), c)
	signed := issue(b, tokens, token.Grant{Type: "repository", Name: "library/app", Actions: []string{"pull", "push"}})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tokens.Verify(b.Context(), signed); err != nil {
				b.Fatal(err)
			}
		}
	})
	refresh, err := tokens.IssueRefresh(b.Context(), alice)
	require.NoError(b, err)
	b.Run("cold", func(b *testing.B) { // refresh tokens are verified alike and not remembered
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tokens.VerifyRefresh(b.Context(), refresh); err != nil {
				b.Fatal(err)
			}
		}
	})
}
