package harness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Client speaks the distribution API as one caller.
type Client struct {
	base      string
	http      *http.Client
	authorize func(*http.Request)
}

// As is a client that sends Basic credentials with every request.
func (g *Gateway) As(name, password string) *Client {
	return &Client{base: g.URL(), http: g.HTTP(), authorize: func(request *http.Request) { request.SetBasicAuth(name, password) }}
}

// Admin is the administrator.
func (g *Gateway) Admin() *Client { return g.As("admin", AdminPassword) }

// Anonymous is a client without credentials.
func (g *Gateway) Anonymous() *Client {
	return &Client{base: g.URL(), http: g.HTTP(), authorize: func(*http.Request) {}}
}

// WithToken is a client that sends a Bearer token.
func (c *Client) WithToken(token string) *Client {
	return &Client{base: c.base, http: c.http, authorize: func(request *http.Request) {
		request.Header.Set("Authorization", "Bearer "+token)
	}}
}

// At is the same caller at another gateway.
func (c *Client) At(g *Gateway) *Client {
	return &Client{base: g.URL(), http: g.HTTP(), authorize: c.authorize}
}

// StatusError is an answer other than the expected one.
type StatusError struct {
	Method, Path string
	Status       int
	Code         string // of the first error in the body
	Body         string
}

// Error tells what was asked and answered.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, strings.TrimSpace(e.Body))
}

// Status returns the status of an error that is an answer, else 0.
func Status(err error) int {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Status
	}
	return 0
}

// Token asks the token service for scopes.
func (c *Client) Token(ctx context.Context, scopes ...string) (string, error) {
	query := url.Values{"service": {"berth"}, "scope": scopes}
	response, err := c.Do(ctx, http.MethodGet, "/service/token?"+query.Encode(), nil, nil, http.StatusOK)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return answer.Token, nil
}

// Do sends a request to a path or an absolute URL and fails with a [*StatusError] unless the answer has one of the expected
// statuses. With none expected every answer is right. The caller closes the body.
func (c *Client) Do(ctx context.Context, method, target string, header http.Header, body io.Reader, expected ...int) (*http.Response, error) {
	if strings.HasPrefix(target, "/") {
		target = c.base + target
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, header)
	if length := header.Get("Content-Length"); length != "" {
		request.ContentLength, _ = strconv.ParseInt(length, 10, 64)
	}
	if strings.HasPrefix(target, c.base) {
		c.authorize(request)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if len(expected) == 0 || slices.Contains(expected, response.StatusCode) {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	said, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	refusal := &StatusError{Method: method, Path: request.URL.Path, Status: response.StatusCode, Body: string(said)}
	var answer struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(said, &answer) == nil && len(answer.Errors) > 0 {
		refusal.Code = answer.Errors[0].Code
	}
	return nil, refusal
}

// call is Do for answers whose body does not matter.
func (c *Client) call(ctx context.Context, method, target string, header http.Header, body io.Reader, expected ...int) (http.Header, error) {
	response, err := c.Do(ctx, method, target, header, body, expected...)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.Header, response.Body.Close()
}

// StartUpload begins an upload and returns where it goes on.
func (c *Client) StartUpload(ctx context.Context, repository string) (string, error) {
	header, err := c.call(ctx, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil, nil, http.StatusAccepted)
	return header.Get("Location"), err
}

// Patch adds a chunk that starts at an offset; with a negative length it is sent as a stream that does not tell its place. It
// returns where the upload goes on and how many bytes the registry says it has.
func (c *Client) Patch(ctx context.Context, location string, offset, length int64, chunk io.Reader) (next string, acknowledged int64, err error) {
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if length >= 0 {
		header.Set("Content-Range", fmt.Sprintf("%d-%d", offset, offset+length-1))
		header.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	answer, err := c.call(ctx, http.MethodPatch, location, header, chunk, http.StatusAccepted)
	if err != nil {
		return "", 0, err
	}
	acknowledged, err = endOfRange(answer)
	return answer.Get("Location"), acknowledged, err
}

// UploadStatus asks how many bytes of an upload the registry has.
func (c *Client) UploadStatus(ctx context.Context, location string) (next string, acknowledged int64, err error) {
	answer, err := c.call(ctx, http.MethodGet, location, nil, nil, http.StatusNoContent)
	if err != nil {
		return "", 0, err
	}
	acknowledged, err = endOfRange(answer)
	return answer.Get("Location"), acknowledged, err
}

// endOfRange reads "Range: 0-N" of an upload as a number of bytes. The form has no empty range: "0-0" is nothing or one byte,
// and the tests do not send one.
func endOfRange(header http.Header) (int64, error) {
	_, last, found := strings.Cut(header.Get("Range"), "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if !found || err != nil {
		return 0, fmt.Errorf("bad range %q", header.Get("Range"))
	}
	if end == 0 {
		return 0, nil
	}
	return end + 1, nil
}

// FinishUpload closes an upload.
func (c *Client) FinishUpload(ctx context.Context, location, digest string) error {
	return c.FinishUploadWith(ctx, location, digest, nil)
}

// FinishUploadWith closes an upload with its last bytes.
func (c *Client) FinishUploadWith(ctx context.Context, location, digest string, rest io.Reader) error {
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	_, err := c.call(ctx, http.MethodPut, location+separator+"digest="+url.QueryEscape(digest), nil, rest, http.StatusCreated)
	return err
}

// PushBlob pushes content with POST, PATCH and PUT, as docker does.
func (c *Client) PushBlob(ctx context.Context, repository, digest string, size int64, content io.Reader) error {
	location, err := c.StartUpload(ctx, repository)
	if err != nil {
		return err
	}
	location, acknowledged, err := c.Patch(ctx, location, 0, -1, content)
	if err != nil {
		return err
	}
	if acknowledged != size && size > 1 {
		return fmt.Errorf("%d of %d bytes acknowledged", acknowledged, size)
	}
	return c.FinishUpload(ctx, location, digest)
}

// PushBlobAtOnce pushes content with POST and one PUT, as containerd does.
func (c *Client) PushBlobAtOnce(ctx context.Context, repository, digest string, _ int64, content io.Reader) error {
	location, err := c.StartUpload(ctx, repository)
	if err != nil {
		return err
	}
	return c.FinishUploadWith(ctx, location, digest, content)
}

// PutManifest pushes a manifest under a tag or digest.
func (c *Client) PutManifest(ctx context.Context, repository, reference, mediaType string, manifest []byte) error {
	_, err := c.call(ctx, http.MethodPut, "/v2/"+repository+"/manifests/"+reference,
		http.Header{"Content-Type": {mediaType}}, bytes.NewReader(manifest), http.StatusCreated)
	return err
}

// Manifest pulls a manifest's exact bytes.
func (c *Client) Manifest(ctx context.Context, repository, reference string) ([]byte, error) {
	response, err := c.Do(ctx, http.MethodGet, "/v2/"+repository+"/manifests/"+reference, nil, nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	return io.ReadAll(response.Body)
}

// PullBlob pulls a blob, follows a redirect, and returns the digest and size of what came.
func (c *Client) PullBlob(ctx context.Context, repository, digest string) (string, int64, error) {
	response, err := c.Do(ctx, http.MethodGet, "/v2/"+repository+"/blobs/"+digest, nil, nil, http.StatusOK)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = response.Body.Close() }()
	return DigestOf(response.Body)
}

// Redirection returns where a path redirects to, without going there.
func (c *Client) Redirection(ctx context.Context, path string) (string, error) {
	stay := *c
	still := *c.http
	still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	stay.http = &still
	header, err := stay.call(ctx, http.MethodGet, path, nil, nil, http.StatusTemporaryRedirect)
	return header.Get("Location"), err
}

// DigestOf reads to the end and returns the sha256 digest and the number of bytes.
func DigestOf(r io.Reader) (string, int64, error) {
	hash := sha256.New()
	size, err := io.CopyBuffer(struct{ io.Writer }{hash}, r, make([]byte, 256<<10))
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), size, err
}
