package s3_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
)

func parse(input string) (*s3.Module, error) {
	module := new(s3.Module)
	err := module.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input))
	return module, err
}

func TestModule_caddyfile(t *testing.T) {
	module, err := parse(`s3 {
		endpoint https://s3.example.com
		bucket blobs
		region eu-central-1
		access_key {env.KEY}
		secret_key {file./run/secrets/s3}
		prefix registry/
		path_style on
		ca_file /etc/ca.pem
		redirect on
		public_endpoint https://cdn.example.com
		redirect_expiry 5m
		part_size 16MiB
		concurrency 20
		timeout 30s
	}`)
	require.NoError(t, err)
	got, err := json.Marshal(module)
	require.NoError(t, err)
	require.JSONEq(t, `{"endpoint":"https://s3.example.com","bucket":"blobs","region":"eu-central-1","access_key":"{env.KEY}",
		"secret_key":"{file./run/secrets/s3}","prefix":"registry/","path_style":true,"ca_file":"/etc/ca.pem","redirect":true,
		"public_endpoint":"https://cdn.example.com","redirect_expiry":300000000000,"part_size":16777216,"concurrency":20,
		"timeout":30000000000}`, string(got))
}

func TestModule_caddyfileRefused(t *testing.T) {
	for input, want := range map[string]string{
		"s3 x":                             "wrong argument count",
		"s3 {\n buckets x\n}":              `Testfile:2`,
		"s3 {\n bucke x\n}":                "it has access_key, bucket, ca_file, concurrency, endpoint",
		"s3 {\n bucket\n}":                 "wrong argument count",
		"s3 {\n bucket a b\n}":             "wrong argument count",
		"s3 {\n bucket a\n bucket b\n}":    "bucket is given twice",
		"s3 {\n redirect yes\n}":           `"yes" is neither on nor off`,
		"s3 {\n part_size huge\n}":         `"huge" is not a size`,
		"s3 {\n part_size 99999999TiB\n}":  "is not a size",
		"s3 {\n concurrency 0\n}":          "is not a number of 1 or more",
		"s3 {\n redirect_expiry never\n}":  "is not a duration",
		"s3 {\n timeout -5s\n}":            "is not a duration",
		"s3 {\n redirect_expiry 5 days\n}": "wrong argument count",
	} {
		_, err := parse(input)
		require.ErrorContains(t, err, want, input)
	}
}

func FuzzModule_caddyfile(f *testing.F) {
	f.Add("s3 {\n bucket a\n redirect on\n part_size 8MiB\n}")
	f.Add("s3 {\n nothing { nested }\n}")
	f.Add("")
	f.Fuzz(func(_ *testing.T, input string) {
		tokens, err := caddyfile.Tokenize([]byte(input), "fuzz")
		if err == nil {
			_ = new(s3.Module).UnmarshalCaddyfile(caddyfile.NewDispenser(tokens))
		}
	})
}

func provision(t *testing.T, module *s3.Module) error {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := module.Provision(ctx); err != nil {
		return err
	}
	return module.Validate()
}

func TestModule_opensWithPlaceholders(t *testing.T) {
	server := s3server.StartVersityGW(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(s3server.SecretKey+"\n"), 0o600))
	t.Setenv("TEST_ENDPOINT", server.Endpoint)
	module := &s3.Module{
		Endpoint: "{env.TEST_ENDPOINT}", Bucket: s3server.Bucket, AccessKey: s3server.AccessKey, SecretKey: "{file." + secret + "}",
		Region: "{env.TEST_UNSET_REGION}", PathStyle: true, Timeout: caddy.Duration(time.Minute),
	}
	require.NoError(t, provision(t, module))
	backend, err := module.OpenStorage(t.Context(), t.TempDir(), nil)
	require.NoError(t, err)
	require.NoError(t, backend.Check(t.Context()))

	same := *module
	require.NoError(t, provision(t, &same))
	require.Equal(t, module.Identity(), same.Identity())
	require.NotContains(t, module.Identity(), s3server.SecretKey)
	require.NoError(t, os.WriteFile(secret, []byte("rotated"), 0o600))
	require.NoError(t, provision(t, &same))
	require.NotEqual(t, module.Identity(), same.Identity())
}

func TestModule_validate(t *testing.T) {
	valid := s3.Module{Endpoint: "https://s3.example.com", Bucket: "bucket", AccessKey: "a", SecretKey: "the-secret"}
	require.NoError(t, provision(t, &valid))
	for want, change := range map[string]func(*s3.Module){
		"endpoint: it has a scheme, a host": func(m *s3.Module) { m.Endpoint = "https://user:the-secret@s3.example.com" },
		"its scheme is \"ftp\"":             func(m *s3.Module) { m.Endpoint = "ftp://s3.example.com" },
		"public_endpoint: it is not a URL":  func(m *s3.Module) { m.PublicEndpoint = "http://[" },
		"bucket is missing":                 func(m *s3.Module) { m.Bucket = "" },
		"bucket \"a/b\"":                    func(m *s3.Module) { m.Bucket = "a/b" },
		"secret_key are both needed":        func(m *s3.Module) { m.SecretKey = "" },
		"prefix":                            func(m *s3.Module) { m.Prefix = "../other" },
		"part_size":                         func(m *s3.Module) { m.PartSize = 1024 },
		"redirect_expiry":                   func(m *s3.Module) { m.RedirectExpiry = caddy.Duration(8 * 24 * time.Hour) },
		"is empty":                          func(m *s3.Module) { m.SecretKey = "{env.TEST_UNSET_SECRET}" },
		"unrecognized placeholder":          func(m *s3.Module) { m.SecretKey = "{nothing.like.that}" },
	} {
		module := valid
		change(&module)
		err := provision(t, &module)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "the-secret")
	}
}
