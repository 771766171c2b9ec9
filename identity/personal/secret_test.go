package personal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecret_looks(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		secret := newSecret()
		require.Len(t, secret, len(Prefix)+randomLength+checksumLength)
		require.True(t, wellFormed(secret), secret)
		require.False(t, seen[secret])
		seen[secret] = true
		altered := []byte(secret)
		altered[len(Prefix)] = alphabet[(int(altered[len(Prefix)])+1)%len(alphabet)]
		require.Equal(t, string(altered) == secret, wellFormed(string(altered)))
	}
}

func FuzzSecret(f *testing.F) {
	for _, seed := range []string{"", Prefix, newSecret(), newSecret() + "x", "ghp_" + newSecret()[len(Prefix):]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if wellFormed(text) {
			require.Equal(t, checksum(text[len(Prefix):len(text)-checksumLength]), text[len(text)-checksumLength:])
		}
	})
}
