package api

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzOwnPath(f *testing.F) {
	for _, seed := range []string{"", "/", "/a?b=c#d", "//x", `/\x`, "/\t/x", "/%2f/x", "https://x", "/..//x", "/a\x00", "/@x", "/:x@y"} {
		f.Add(seed)
	}
	here, err := url.Parse("https://registry.example.com/c/oidc/callback")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, path string) {
		there, err := here.Parse(ownPath(path))
		require.NoError(t, err)
		require.Equal(t, "https://registry.example.com", there.Scheme+"://"+there.Host)
		require.Nil(t, there.User)
	})
}
