package s3

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/berth-registry/berth/storage"
)

func init() { caddy.RegisterModule(new(Module)) }

// Module configures the storage of blobs in an S3 bucket. In the values that are text, placeholders such as
// {env.BERTH_S3_SECRET_KEY} and {file./run/secrets/s3} are replaced when the configuration is loaded, so that no secret has to
// be in it.
type Module struct {
	// The server's URL, such as https://s3.example.com; with http:// there is no TLS.
	Endpoint string `json:"endpoint,omitempty"`
	// The bucket, which exists.
	Bucket string `json:"bucket,omitempty"`
	// The region. Default: us-east-1.
	Region string `json:"region,omitempty"`
	// The access key's id.
	AccessKey string `json:"access_key,omitempty"`
	// The access key's secret.
	SecretKey string `json:"secret_key,omitempty"`
	// What comes before the name of every object, such as registry/.
	Prefix string `json:"prefix,omitempty"`
	// Put the bucket's name into the path, not the host. Servers that are not known to do otherwise are addressed so anyway.
	PathStyle bool `json:"path_style,omitempty"`
	// A PEM file of certificates to trust beside the system's.
	CAFile string `json:"ca_file,omitempty"`
	// Send clients to the bucket for blobs, by URLs signed for them.
	Redirect bool `json:"redirect,omitempty"`
	// The server's URL as clients reach it. Default: the endpoint.
	PublicEndpoint string `json:"public_endpoint,omitempty"`
	// How long a signed URL is good. Default: 20m.
	RedirectExpiry caddy.Duration `json:"redirect_expiry,omitempty"`
	// The size of the parts of an upload, in bytes. An upload holds up to two in memory, and an object has up to 10,000.
	// Default: 8 MiB.
	PartSize int64 `json:"part_size,omitempty"`
	// How many parts are in memory at once, over all uploads; more are kept in files in the data directory. Default: 48.
	Concurrency int `json:"concurrency,omitempty"`
	// How long a request to the server may stand still. Default: 1m.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	resolved Config
}

// CaddyModule returns the module's name and constructor.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "berth.storage.s3", New: func() caddy.Module { return new(Module) }}
}

// options says how the value of each option of the Caddyfile is read.
var options = map[string]func(m *Module, value string) error{
	"endpoint":        func(m *Module, v string) error { m.Endpoint = v; return nil },
	"bucket":          func(m *Module, v string) error { m.Bucket = v; return nil },
	"region":          func(m *Module, v string) error { m.Region = v; return nil },
	"access_key":      func(m *Module, v string) error { m.AccessKey = v; return nil },
	"secret_key":      func(m *Module, v string) error { m.SecretKey = v; return nil },
	"prefix":          func(m *Module, v string) error { m.Prefix = v; return nil },
	"ca_file":         func(m *Module, v string) error { m.CAFile = v; return nil },
	"public_endpoint": func(m *Module, v string) error { m.PublicEndpoint = v; return nil },
	"path_style":      func(m *Module, v string) error { return parseSwitch(&m.PathStyle, v) },
	"redirect":        func(m *Module, v string) error { return parseSwitch(&m.Redirect, v) },
	"redirect_expiry": func(m *Module, v string) error { return parseDuration(&m.RedirectExpiry, v) },
	"timeout":         func(m *Module, v string) error { return parseDuration(&m.Timeout, v) },
	"part_size":       func(m *Module, v string) error { return parseSize(&m.PartSize, v) },
	"concurrency":     func(m *Module, v string) error { return parseCount(&m.Concurrency, v) },
}

// UnmarshalCaddyfile reads
//
//	s3 {
//		endpoint        <url>
//		bucket          <name>
//		region          <name>
//		access_key      <id>
//		secret_key      <secret>
//		prefix          <path>
//		path_style      on|off
//		ca_file         <file>
//		redirect        on|off
//		public_endpoint <url>
//		redirect_expiry <duration>
//		part_size       <size>
//		concurrency     <parts>
//		timeout         <duration>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	given := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		set, known := options[name]
		if !known {
			return d.Errf("storage s3 has no option %q; it has %s", name, optionNames())
		}
		if given[name] {
			return d.Errf("%s is given twice", name)
		}
		given[name] = true
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		if err := set(m, value); err != nil {
			return d.Errf("%s: %v", name, err)
		}
	}
	return nil
}

func optionNames() string {
	return strings.Join(slices.Sorted(maps.Keys(options)), ", ")
}

func parseSwitch(to *bool, value string) error {
	if value != "on" && value != "off" {
		return fmt.Errorf("%q is neither on nor off", value)
	}
	*to = value == "on"
	return nil
}

func parseDuration(to *caddy.Duration, value string) error {
	duration, err := caddy.ParseDuration(value)
	if err != nil || duration <= 0 {
		return fmt.Errorf("%q is not a duration such as 20m", value)
	}
	*to = caddy.Duration(duration)
	return nil
}

func parseSize(to *int64, value string) error {
	size, err := humanize.ParseBytes(value)
	if err != nil || size == 0 || size > MaxPartSize {
		return fmt.Errorf("%q is not a size such as 8MiB, up to 512MiB", value)
	}
	*to = int64(size)
	return nil
}

func parseCount(to *int, value string) error {
	count, err := strconv.Atoi(value)
	if err != nil || count < 1 {
		return fmt.Errorf("%q is not a number of 1 or more", value)
	}
	*to = count
	return nil
}

// Provision replaces the placeholders. One that is unknown is an error; one that is empty is too where a value is needed.
func (m *Module) Provision(caddy.Context) error {
	m.resolved = Config{
		PathStyle: m.PathStyle, Redirect: m.Redirect, RedirectExpiry: time.Duration(m.RedirectExpiry), PartSize: m.PartSize,
		Concurrency: m.Concurrency, Timeout: time.Duration(m.Timeout),
	}
	replacer := caddy.NewReplacer()
	for _, setting := range []struct {
		name, from string
		needed     bool
		to         *string
	}{
		{"endpoint", m.Endpoint, true, &m.resolved.Endpoint},
		{"bucket", m.Bucket, true, &m.resolved.Bucket},
		{"region", m.Region, false, &m.resolved.Region},
		{"access_key", m.AccessKey, true, &m.resolved.AccessKey},
		{"secret_key", m.SecretKey, true, &m.resolved.SecretKey},
		{"prefix", m.Prefix, false, &m.resolved.Prefix},
		{"ca_file", m.CAFile, false, &m.resolved.CAFile},
		{"public_endpoint", m.PublicEndpoint, false, &m.resolved.PublicEndpoint},
	} {
		value, err := replacer.ReplaceOrErr(setting.from, setting.needed, true)
		if err != nil {
			return fmt.Errorf("storage s3: %s: %w", setting.name, err)
		}
		*setting.to = strings.TrimSpace(value)
	}
	return nil
}

// Validate checks what can be checked without the server.
func (m *Module) Validate() error { return m.resolved.Validate() }

// OpenStorage implements [storage.Opener].
func (m *Module) OpenStorage(_ context.Context, dataDir string, _ *slog.Logger) (storage.Backend, error) {
	config := m.resolved
	config.SpillDirectory = dataDir
	return New(config)
}

// Identity implements [storage.Opener].
func (m *Module) Identity() string { return storage.IdentityOf("s3", m.resolved) }

// Interface guards.
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddy.Validator       = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ storage.Opener        = (*Module)(nil)
)
