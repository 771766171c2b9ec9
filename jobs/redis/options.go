package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// DefaultPrefix is what the names of the queues begin with.
const DefaultPrefix = "berth"

// Options say where Redis is.
type Options struct {
	// URL is one of
	//
	//	redis://[user:password@]host[:port][/database]
	//	redis+sentinel://[user:password@]host[:port],host[:port],…/name of the master[/database][?sentinel_username=…&sentinel_password=…]
	//	redis+cluster://[user:password@]host[:port],host[:port],…
	//
	// with "rediss" in the place of "redis" for TLS.
	URL string
	// CAFile is a PEM file of certificates to trust beside the system's.
	CAFile string
	// Prefix is what the names of the queues begin with; "" is [DefaultPrefix]. Registries that share a Redis each need their own.
	Prefix string
}

func (o Options) prefix() string {
	if o.Prefix == "" {
		return DefaultPrefix
	}
	return o.Prefix
}

// address is a parsed URL.
type address struct {
	hosts                          []string
	user, password                 string
	master                         string
	sentinelUser, sentinelPassword string
	database                       int
	cluster, encrypted             bool
}

// The ports that need not be named.
const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// parseURL reads a URL. Its errors do not repeat it, because it has a password.
func parseURL(text string) (address, error) {
	scheme, rest, found := strings.Cut(text, "://")
	kind, encrypted := strings.CutPrefix(scheme, "rediss")
	if !encrypted {
		kind, found = strings.CutPrefix(scheme, "redis")
	}
	if !found || !strings.Contains(text, "://") || kind != "" && kind != "+sentinel" && kind != "+cluster" {
		return address{}, errors.New("url of Redis must begin with redis://, redis+sentinel:// or redis+cluster://, or rediss for TLS")
	}
	a := address{encrypted: encrypted, cluster: kind == "+cluster"}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	login, hosts := "", rest[:end]
	if at := strings.LastIndexByte(hosts, '@'); at >= 0 {
		login, hosts = hosts[:at+1], hosts[at+1:]
	}
	// A list of hosts is no host of a URL.
	parsed, err := url.Parse("redis://" + login + "host" + rest[end:])
	if err != nil {
		return address{}, errors.New("url of Redis is malformed: percent-encode what is special in its password")
	}
	a.user = parsed.User.Username()
	a.password, _ = parsed.User.Password()
	port := redisPort
	if kind == "+sentinel" {
		port = sentinelPort
	}
	for host := range strings.SplitSeq(hosts, ",") {
		full, err := withPort(host, port)
		if err != nil {
			return address{}, err
		}
		a.hosts = append(a.hosts, full)
	}
	if kind == "" && len(a.hosts) > 1 {
		return address{}, errors.New("url of Redis names several hosts: say whether they are redis+sentinel:// or redis+cluster://")
	}
	return a, a.parsePath(kind, parsed)
}

// parsePath reads the name of the master and the number of the database, and the login of sentinels.
func (a *address) parsePath(kind string, parsed *url.URL) error {
	var segments []string
	if path := strings.Trim(parsed.Path, "/"); path != "" {
		segments = strings.Split(path, "/")
	}
	query := parsed.Query()
	if kind == "+sentinel" {
		if len(segments) == 0 {
			return errors.New("url of Redis sentinels must name the master: redis+sentinel://host,host/mymaster")
		}
		a.master, segments = segments[0], segments[1:]
		a.sentinelUser, a.sentinelPassword = query.Get("sentinel_username"), query.Get("sentinel_password")
		query.Del("sentinel_username")
		query.Del("sentinel_password")
	}
	if len(query) > 0 || parsed.Fragment != "" {
		return errors.New("url of Redis has a query that nobody understands")
	}
	switch {
	case len(segments) == 0:
		return nil
	case len(segments) > 1 || kind == "+cluster":
		return errors.New("url of Redis has too long a path: a cluster has no databases, and others one number")
	}
	database, err := strconv.ParseUint(segments[0], 10, 16)
	if err != nil {
		return errors.New("url of Redis ends with a database that is no number")
	}
	a.database = int(database)
	return nil
}

// withPort adds the port to a host that has none.
func withPort(host, port string) (string, error) {
	name, given, err := net.SplitHostPort(host)
	if err != nil {
		name, given = strings.Trim(host, "[]"), port
		if strings.Contains(name, ":") && !strings.HasPrefix(host, "[") {
			return "", errors.New("url of Redis has a host that is malformed: put brackets around an IPv6 address")
		}
	}
	if _, err := strconv.ParseUint(given, 10, 16); err != nil || name == "" || strings.ContainsAny(name, " @[]") {
		return "", errors.New("url of Redis has a host that is malformed")
	}
	return net.JoinHostPort(name, given), nil
}

// universal returns the options of the client.
func (o Options) universal() (*goredis.UniversalOptions, error) {
	a, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(o.prefix(), "{}: \t\n") {
		return nil, fmt.Errorf("prefix of Redis is %q: it must not have braces, colons or blanks in it", o.prefix())
	}
	options := &goredis.UniversalOptions{
		Addrs: a.hosts, Username: a.user, Password: a.password, DB: a.database, IsClusterMode: a.cluster,
		MasterName: a.master, SentinelUsername: a.sentinelUser, SentinelPassword: a.sentinelPassword,
	}
	if !a.encrypted {
		if o.CAFile != "" {
			return nil, errors.New("ca_file of Redis needs a url with rediss")
		}
		return options, nil
	}
	options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile == "" {
		return options, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file of Redis: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file of Redis: %s has no certificate", o.CAFile)
	}
	options.TLSConfig.RootCAs = pool
	return options, nil
}

// Validate returns what is wrong with the options, as far as one can tell without Redis. It tells no password.
func (o Options) Validate() error {
	_, err := o.universal()
	return err
}
