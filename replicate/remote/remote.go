// Package remote speaks to registries elsewhere by the distribution specification: what is read and written small goes through
// oras-go, which knows logins and tokens; blobs are read and uploaded from where a connection broke.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"oras.land/oras-go/v2/errdef"
	orasregistry "oras.land/oras-go/v2/registry"
	orasremote "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outbound"
)

// ErrNotFound says that the registry does not have what was asked for.
var ErrNotFound = errors.New("not found in the remote registry")

// ErrWrong says that the registry sent something that cannot be what was asked for.
var ErrWrong = errors.New("not what was asked for")

// Options are how a registry is reached.
type Options struct {
	// URL is its address, such as https://registry.example.com; http is for registries on trusted networks.
	URL string
	// Username and Secret log in; both empty logs nobody in.
	Username, Secret string
	// Transport carries the requests; it decides where connections may go, see package outbound.
	Transport http.RoundTripper
	UserAgent string
}

// Registry is a registry elsewhere. Its methods may be called from many goroutines.
type Registry struct {
	base   *url.URL
	client *auth.Client
	// once is the client of requests that are not sent twice.
	once *auth.Client
	// uploads is nil where nobody takes up what this process leaves.
	uploads Uploads
}

// manifestTypes are what a registry is told that the caller understands, so that none converts.
var manifestTypes = []string{
	oci.MediaTypeImageManifest, oci.MediaTypeImageIndex, oci.MediaTypeDockerManifest, oci.MediaTypeDockerList, "*/*",
}

// requestRetries is for requests that can be sent again as they are; transfers of blobs have their own, from where they broke.
var requestRetries = &retry.GenericPolicy{
	Retryable: retryable, Backoff: retryAfter(retry.ExponentialBackoff(500*time.Millisecond, 2, 0.2)),
	MinWait: 100 * time.Millisecond, MaxWait: longestAsked, MaxRetry: 5,
}

// retryable reports whether a request may succeed when it is sent again: too many requests, and faults of the server or the way.
func retryable(response *http.Response, err error) (bool, error) {
	if err != nil {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, outbound.ErrForbidden), nil
	}
	return response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusRequestTimeout ||
		response.StatusCode >= http.StatusInternalServerError && response.StatusCode != http.StatusNotImplemented, nil
}

// retryAfter waits as long as a 503 asks for, as oras-go does for a 429 already.
func retryAfter(backoff retry.Backoff) retry.Backoff {
	return func(attempt int, response *http.Response) time.Duration {
		if response != nil && response.StatusCode == http.StatusServiceUnavailable {
			if wait := waitOf(response); wait > 0 {
				return wait
			}
		}
		return backoff(attempt, response)
	}
}

// Retrying returns a transport that sends requests again which can be, after faults of the server or the way.
func Retrying(transport http.RoundTripper) http.RoundTripper {
	return &retry.Transport{Base: transport, Policy: func() retry.Policy { return requestRetries }}
}

// New returns the registry at an address. It returns an error when the address is none.
func New(options Options) (*Registry, error) {
	base, err := url.Parse(options.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.Path != "" && base.Path != "/" {
		return nil, fmt.Errorf("%q is no address of a registry, such as https://registry.example.com", options.URL)
	}
	transport := Retrying(options.Transport)
	return &Registry{
		base: &url.URL{Scheme: base.Scheme, Host: base.Host}, client: newClient(base.Host, options, transport), once: newClient(base.Host, options, telling{options.Transport}),
	}, nil
}

// Once returns the registry with each request sent once: for who has somebody waiting, and something better than a late answer.
func (r *Registry) Once() *Registry {
	return &Registry{base: r.base, client: r.once, once: r.once, uploads: r.uploads}
}

// Remembering returns the registry with uploads that another process can take up.
func (r *Registry) Remembering(uploads Uploads) *Registry {
	return &Registry{base: r.base, client: r.client, once: r.once, uploads: uploads}
}

// hopsKey is where a context has the hops of [Through].
type hopsKey struct{}

// Through returns a context for requests that are made for one which has come through the hops, each a protocol and a name: a
// [Registry.Via] tells of them.
func Through(ctx context.Context, hops []string) context.Context {
	if len(hops) == 0 {
		return ctx
	}
	return context.WithValue(ctx, hopsKey{}, hops)
}

// Via returns the registry with requests that tell through whom they come (RFC 9110, "Via"), which is this name after those of
// [Through], so that who gets its own request can see it.
func (r *Registry) Via(name string) *Registry {
	through := func(client *auth.Client) *auth.Client {
		named, plain := *client, *client.Client
		plain.Transport = via{plain.Transport, name}
		named.Client = &plain
		return &named
	}
	return &Registry{base: r.base, client: through(r.client), once: through(r.once), uploads: r.uploads}
}

// via adds the Via header to requests.
type via struct {
	base http.RoundTripper
	name string
}

// RoundTrip sends a request.
func (v via) RoundTrip(request *http.Request) (*http.Response, error) {
	hops, _ := request.Context().Value(hopsKey{}).([]string)
	request = request.Clone(request.Context())
	request.Header.Set("Via", strings.Join(append(slices.Clone(hops), "1.1 "+v.name), ", "))
	return v.base.RoundTrip(request)
}

func newClient(host string, options Options, transport http.RoundTripper) *auth.Client {
	client := &auth.Client{
		Client: &http.Client{Transport: transport}, Cache: auth.NewCache(), ClientID: "berth",
		Header: http.Header{"User-Agent": {options.UserAgent}},
		// Where connections may go is the transport's to say, for realms of tokens and everything else alike.
		BlockedRealmPrefixes: []netip.Prefix{},
	}
	if options.Username != "" || options.Secret != "" {
		client.Credential = auth.StaticCredential(host, auth.Credential{Username: options.Username, Password: options.Secret})
	}
	return client
}

func (r *Registry) plain() bool { return r.base.Scheme == "http" }

func (r *Registry) repository(name string) *orasremote.Repository {
	return &orasremote.Repository{
		// oras-go cuts off what is longer; a byte more lets that be seen.
		MaxMetadataBytes: oci.MaxManifestSize + 1,
		Client:           r.client, Reference: orasregistry.Reference{Registry: r.base.Host, Repository: name}, PlainHTTP: r.plain(),
		ManifestMediaTypes: manifestTypes, SkipReferrersGC: true,
	}
}

// listed is a repository of which lists are read.
func (r *Registry) listed(name string) *orasremote.Repository {
	repository := r.repository(name)
	repository.Client = r.pages()
	return repository
}

// Ping returns nil when the registry answers and takes the login; without one, when it answers. It does not try twice.
func (r *Registry) Ping(ctx context.Context) error {
	act := "ping " + r.base.Host
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.at("v2/").String(), nil)
	if err != nil {
		return refused(act, err)
	}
	send := r.once.Do
	if r.once.Credential == nil {
		send = r.once.Client.Do // for nobody, some registries give no token that is good for nothing in particular
	}
	response, err := send(request)
	if err != nil {
		return refused(act, err)
	}
	if response.StatusCode == http.StatusUnauthorized && r.once.Credential == nil {
		return expect(response, act, http.StatusUnauthorized)
	}
	return expect(response, act, http.StatusOK)
}

// Repositories calls fn with the names of all repositories, a page at a time, as far as the registry has a catalog.
func (r *Registry) Repositories(ctx context.Context, fn func(names []string) error) error {
	registry := &orasremote.Registry{RepositoryOptions: orasremote.RepositoryOptions{
		Client: r.pages(), Reference: orasregistry.Reference{Registry: r.base.Host}, PlainHTTP: r.plain(),
	}}
	return refused("list repositories of "+r.base.Host, registry.Repositories(ctx, "", ending(fn)))
}

// Tags calls fn with the tags of a repository, a page at a time. The error wraps [ErrNotFound] when there is no such repository.
func (r *Registry) Tags(ctx context.Context, repository string, fn func(tags []string) error) error {
	return refused("list tags of "+repository, r.listed(repository).Tags(ctx, "", ending(fn)))
}

// Manifest is a manifest as the registry sent it.
type Manifest struct {
	MediaType string
	Digest    oci.Digest
	Payload   []byte
	// Sparse says of an index that is to be written that not all it lists is there.
	Sparse bool
}

// Manifest returns the manifest behind a tag or digest. The error wraps [ErrNotFound] when there is none. That it has the digest
// that was asked for has been checked.
func (r *Registry) Manifest(ctx context.Context, repository, reference string) (Manifest, error) {
	act := "read manifest " + repository + " " + reference
	descriptor, body, err := r.repository(repository).Manifests().FetchReference(ctx, reference)
	if err != nil {
		return Manifest{}, refused(act, err)
	}
	defer body.Close()
	payload, err := io.ReadAll(io.LimitReader(body, oci.MaxManifestSize+1))
	if err != nil {
		return Manifest{}, refused(act, err)
	}
	if len(payload) > oci.MaxManifestSize {
		return Manifest{}, fmt.Errorf("%s: %w: longer than %d bytes", act, ErrWrong, oci.MaxManifestSize)
	}
	if actual := descriptor.Digest.Algorithm().FromBytes(payload); actual != descriptor.Digest {
		return Manifest{}, fmt.Errorf("%s: %w: the registry sent %s", act, ErrWrong, actual)
	}
	return Manifest{MediaType: descriptor.MediaType, Digest: descriptor.Digest, Payload: payload}, nil
}

// Resolve returns the digest behind a tag or digest without its manifest. The error wraps [ErrNotFound] when there is none.
func (r *Registry) Resolve(ctx context.Context, repository, reference string) (oci.Digest, error) {
	descriptor, err := r.Describe(ctx, repository, reference)
	return descriptor.Digest, err
}

// Describe returns digest, media type and size of the manifest behind a tag or digest. The error wraps [ErrNotFound] when there is
// none.
func (r *Registry) Describe(ctx context.Context, repository, reference string) (oci.Descriptor, error) {
	d, err := r.repository(repository).Manifests().Resolve(ctx, reference)
	return oci.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, refused("look for manifest "+repository+" "+reference, err)
}

// PutManifest stores a manifest under a tag, or under its digest when the reference is one.
func (r *Registry) PutManifest(ctx context.Context, repository, reference string, manifest Manifest) error {
	target := r.at("v2", repository, "manifests", reference)
	ctx = auth.AppendRepositoryScope(ctx, r.reference(repository), auth.ActionPull, auth.ActionPush)
	header := http.Header{"Content-Type": {manifest.MediaType}}
	if manifest.Sparse {
		header.Set(oci.SparseIndexHeader, "true")
	}
	response, err := r.send(ctx, http.MethodPut, target, manifest.Payload, header)
	if err != nil {
		return refused("write manifest "+repository+" "+reference, err)
	}
	return expect(response, "write manifest "+repository+" "+reference, http.StatusCreated)
}

// DeleteManifest deletes a manifest by its digest, or, where the registry does that, a tag. One that is gone is deleted already.
func (r *Registry) DeleteManifest(ctx context.Context, repository, reference string) error {
	act := "delete manifest " + repository + " " + reference
	ctx = auth.AppendRepositoryScope(ctx, r.reference(repository), auth.ActionDelete)
	response, err := r.send(ctx, http.MethodDelete, r.at("v2", repository, "manifests", reference), nil, nil)
	if err != nil {
		return refused(act, err)
	}
	err = expect(response, act, http.StatusAccepted, http.StatusOK, http.StatusNoContent)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Referrers returns what refers to a manifest, by the referrers API or by the tag that stands in for it.
func (r *Registry) Referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Descriptor, error) {
	var found []oci.Descriptor
	err := r.listed(repository).Referrers(ctx, oci.Descriptor{Digest: subject}, "", ending(func(referrers []oci.Descriptor) error {
		found = append(found, referrers...)
		return nil
	}))
	if err = refused("list referrers of "+repository+" "+subject.String(), err); errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return found, err
}

func (r *Registry) reference(repository string) orasregistry.Reference {
	return orasregistry.Reference{Registry: r.base.Host, Repository: repository}
}

// at is the address of a path, whose parts need no escapes: names and digests have none.
func (r *Registry) at(parts ...string) *url.URL { return r.base.JoinPath(parts...) }

// refused names an act that failed, and marks what does not exist.
func refused(act string, err error) error {
	if err == nil {
		return nil
	}
	if response, ok := errors.AsType[*errcode.ErrorResponse](err); errors.Is(err, errdef.ErrNotFound) || ok && response.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%s: %w", act, ErrNotFound)
	}
	return fmt.Errorf("%s: %w", act, err)
}
