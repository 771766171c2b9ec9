package s3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// The limits of the S3 protocol.
const (
	// MinPartSize is the smallest part that may be followed by another one.
	MinPartSize = 5 << 20
	// MaxPartSize bounds the memory of an upload, which is two parts; the protocol would allow more.
	MaxPartSize = 512 << 20
	// MaxParts is the number of parts that an object may have.
	MaxParts = 10_000
)

// What a zero value in [Config] means.
const (
	DefaultRegion         = "us-east-1"
	DefaultPartSize       = 8 << 20
	DefaultConcurrency    = 48
	DefaultRedirectExpiry = 20 * time.Minute
	DefaultTimeout        = time.Minute
)

// Config is what the backend needs to know.
type Config struct {
	// Endpoint is the server's URL without a path; http:// switches TLS off.
	Endpoint string
	// Bucket exists already.
	Bucket string
	// Region is fixed, so that the backend never has to ask for it.
	Region string
	// AccessKey and SecretKey sign the requests.
	AccessKey string
	SecretKey string
	// Prefix comes before every object's name.
	Prefix string
	// PathStyle puts the bucket into the path also where the server is known to have a host name for each.
	PathStyle bool
	// CAFile is a PEM file with certificates to trust beside the system's.
	CAFile string
	// Redirect lets clients fetch blobs from the bucket by signed URLs.
	Redirect bool
	// PublicEndpoint is the server's URL as clients reach it, when it is not Endpoint.
	PublicEndpoint string
	// RedirectExpiry is how long a signed URL is good.
	RedirectExpiry time.Duration
	// PartSize is the size of the parts of an upload, rounded up to 256 KiB. An object has at most 10,000 of them.
	PartSize int64
	// Concurrency is how many parts may be in memory at once, over all uploads. An upload has one or two. Others are kept in files.
	Concurrency int
	// SpillDirectory is where these files are; "" is the system's directory for temporary ones.
	SpillDirectory string
	// Timeout is how long a request may stand still before it is given up.
	Timeout time.Duration
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.Region == "" {
		c.Region = DefaultRegion
	}
	if c.PartSize == 0 {
		c.PartSize = DefaultPartSize
	}
	c.PartSize = (c.PartSize + chunkSize - 1) / chunkSize * chunkSize
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.RedirectExpiry == 0 {
		c.RedirectExpiry = DefaultRedirectExpiry
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.PublicEndpoint == "" {
		c.PublicEndpoint = c.Endpoint
	}
	if c.Prefix != "" && !strings.HasSuffix(c.Prefix, "/") {
		c.Prefix += "/"
	}
	return c
}

// Validate returns everything that is wrong with the settings and can be known without asking the server.
func (c Config) Validate() error {
	var problems []error
	complain := func(format string, arguments ...any) {
		problems = append(problems, fmt.Errorf("s3 storage: "+format, arguments...))
	}
	if _, _, err := parseEndpoint(c.Endpoint); err != nil {
		complain("endpoint: %w", err)
	}
	if c.PublicEndpoint != "" {
		if _, _, err := parseEndpoint(c.PublicEndpoint); err != nil {
			complain("public_endpoint: %w", err)
		}
	}
	if c.Bucket == "" {
		complain("bucket is missing")
	} else if err := s3utils.CheckValidBucketName(c.Bucket); err != nil {
		complain("bucket %q: %w", c.Bucket, err)
	}
	if c.AccessKey == "" || c.SecretKey == "" {
		complain("access_key and secret_key are both needed")
	}
	if strings.HasPrefix(c.Prefix, "/") || strings.Contains(c.Prefix, "//") || strings.Contains("/"+c.Prefix+"/", "/../") {
		complain("prefix %q: it is a path without an empty or a parent segment, such as registry/", c.Prefix)
	}
	if c.PartSize != 0 && (c.PartSize < MinPartSize || c.PartSize > MaxPartSize) {
		complain("part_size is %d bytes: from %d (5 MiB) to %d (512 MiB) are possible", c.PartSize, MinPartSize, MaxPartSize)
	}
	if c.Concurrency < 0 {
		complain("concurrency is %d: it is at least 1", c.Concurrency)
	}
	if c.RedirectExpiry != 0 && (c.RedirectExpiry < time.Second || c.RedirectExpiry > 7*24*time.Hour) {
		complain("redirect_expiry is %s: from 1s to 168h are possible", c.RedirectExpiry)
	}
	if c.Timeout < 0 {
		complain("timeout is %s: it is a positive duration", c.Timeout)
	}
	return errors.Join(problems...)
}

// parseEndpoint splits an endpoint's URL into host and whether TLS is used.
func parseEndpoint(endpoint string) (host string, secure bool, err error) {
	if endpoint == "" {
		return "", false, errors.New("it is missing; it is a URL such as https://s3.example.com")
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		// The parser's error repeats its input, which may hold a password.
		return "", false, errors.New("it is not a URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", false, fmt.Errorf("its scheme is %q, not http or https", u.Scheme)
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", false, errors.New("it has a scheme, a host and perhaps a port, and nothing else")
	}
	return u.Host, u.Scheme == "https", nil
}

// newTransport returns the connections to the server. There is no total timeout: a request that makes progress may take long,
// and one that stands still is ended by its watchdog.
func newTransport(config Config) (*http.Transport, error) {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConns:        512,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		// Blobs are compressed already, and a transport that inflates them would change their bytes.
		DisableCompression: true,
		WriteBufferSize:    64 << 10,
		ReadBufferSize:     64 << 10,
	}
	if config.CAFile == "" {
		return transport, nil
	}
	pem, err := os.ReadFile(config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("s3 storage: ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("s3 storage: ca_file: %s holds no PEM certificate", config.CAFile)
	}
	transport.TLSClientConfig.RootCAs = roots
	return transport, nil
}
