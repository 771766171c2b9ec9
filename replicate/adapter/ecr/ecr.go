// Package ecr is Amazon's Elastic Container Registry: one logs in with the id and secret of an access key, for which its API gives a
// password that lasts for hours; and a repository has to be made before it can be pushed to.
package ecr

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

const (
	service = "ecr"
	target  = "AmazonEC2ContainerRegistry_V20150921."
	// early is how long before its end a password is renewed.
	early = 10 * time.Minute
)

func init() { adapter.Register(adapter.Kind{Name: "aws-ecr", Open: open}) }

var host = regexp.MustCompile(`^[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?)$`)

// registry is the registry of an account in a region.
type registry struct {
	adapter.Plain
	api *adapter.API
}

func open(options remote.Options) (adapter.Registry, error) {
	address, err := url.Parse(options.URL)
	if err != nil {
		return nil, fmt.Errorf("%q is no address: %w", options.URL, err)
	}
	found := host.FindStringSubmatch(address.Hostname())
	if found == nil {
		return nil, fmt.Errorf("%q is no address of a registry such as https://123456789012.dkr.ecr.eu-central-1.amazonaws.com", options.URL)
	}
	anonymous := options
	anonymous.Username, anonymous.Secret = "", ""
	r := &registry{api: adapter.NewAPI(anonymous, "https://api.ecr."+found[1]+"."+found[2])}
	r.api.Authorize = sign(aws.Credentials{AccessKeyID: options.Username, SecretAccessKey: options.Secret}, found[1])
	content := anonymous
	if options.Secret != "" {
		content.Transport = &login{base: options.Transport, host: address.Host, registry: r}
	}
	r.Plain, err = adapter.OpenPlain(content)
	return r, err
}

// sign signs requests to the API.
func sign(credentials aws.Credentials, region string) func(ctx context.Context, request *http.Request) error {
	signer := v4.NewSigner()
	return func(ctx context.Context, request *http.Request) error {
		var body bytes.Buffer
		if request.GetBody != nil {
			content, err := request.GetBody()
			if err != nil {
				return err
			}
			if _, err := body.ReadFrom(content); err != nil {
				return err
			}
		}
		sum := sha256.Sum256(body.Bytes())
		return signer.SignHTTP(ctx, credentials, request, hex.EncodeToString(sum[:]), service, region, time.Now())
	}
}

// call calls an operation of the API.
func (r *registry) call(ctx context.Context, operation string, body, into any) error {
	header := http.Header{"X-Amz-Target": {target + operation}, "Content-Type": {"application/x-amz-json-1.1"}}
	_, err := r.api.Send(ctx, http.MethodPost, r.api.Address("/"), header, body, into)
	return err
}

// login adds the password of the moment to requests to the registry.
type login struct {
	base     http.RoundTripper
	host     string
	registry *registry

	mu       sync.Mutex
	password string
	until    time.Time
}

// RoundTrip implements [http.RoundTripper].
func (l *login) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Host == l.host {
		password, err := l.current(request.Context())
		if err != nil {
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Basic "+password)
	}
	return l.base.RoundTrip(request)
}

// current returns a password that lasts, with the name in front and encoded as the header wants it.
func (l *login) current(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		return l.password, nil
	}
	var answer struct {
		Data []struct {
			Token     string  `json:"authorizationToken"`
			ExpiresAt float64 `json:"expiresAt"`
		} `json:"authorizationData"`
	}
	if err := l.registry.call(ctx, "GetAuthorizationToken", struct{}{}, &answer); err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	if len(answer.Data) == 0 {
		return "", errors.New("log in: the registry gives no password")
	}
	if _, err := base64.StdEncoding.DecodeString(answer.Data[0].Token); err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	l.password, l.until = answer.Data[0].Token, time.Unix(int64(answer.Data[0].ExpiresAt), 0).Add(-early)
	return l.password, nil
}

// Repositories implements [adapter.Registry].
func (r *registry) Repositories(ctx context.Context, _ string, fn func(names []string) error) error {
	for next := ""; ; {
		query := map[string]any{"maxResults": 1000}
		if next != "" {
			query["nextToken"] = next
		}
		var answer struct {
			Repositories []struct {
				Name string `json:"repositoryName"`
			} `json:"repositories"`
			Next string `json:"nextToken"`
		}
		if err := r.call(ctx, "DescribeRepositories", query, &answer); err != nil {
			return err
		}
		names := make([]string, len(answer.Repositories))
		for i, repository := range answer.Repositories {
			names[i] = repository.Name
		}
		if err := fn(names); err != nil {
			return err
		}
		if next = answer.Next; next == "" {
			return nil
		}
	}
}

// Prepare implements [adapter.Preparer]: it makes the repository.
func (r *registry) Prepare(ctx context.Context, repository string, _ bool) error {
	err := r.call(ctx, "CreateRepository", map[string]string{"repositoryName": repository}, nil)
	if refusal, ok := errors.AsType[*adapter.StatusError](err); ok && strings.Contains(refusal.Message, "RepositoryAlreadyExists") {
		return nil
	}
	return err
}
