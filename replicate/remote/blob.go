package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/pause"
)

// HasBlob reports whether the repository has a blob.
func (r *Registry) HasBlob(ctx context.Context, repository string, digest oci.Digest) (bool, error) {
	_, err := r.BlobSize(ctx, repository, digest)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// BlobSize returns the size of a blob in bytes, -1 when the registry does not tell. The error wraps [ErrNotFound] when the repository
// does not have it.
func (r *Registry) BlobSize(ctx context.Context, repository string, digest oci.Digest) (int64, error) {
	ctx = auth.AppendRepositoryScope(ctx, r.reference(repository), auth.ActionPull)
	response, err := r.send(ctx, http.MethodHead, r.at("v2", repository, "blobs", digest.String()), nil, nil)
	act := "look for blob " + repository + " " + digest.String()
	if err != nil {
		return 0, refused(act, err)
	}
	return response.ContentLength, expect(response, act, http.StatusOK)
}

// ReadBlob opens a blob from an offset on. The error wraps [ErrNotFound] when the repository does not have it.
func (r *Registry) ReadBlob(ctx context.Context, repository string, digest oci.Digest, offset int64) (io.ReadCloser, error) {
	content, _, err := r.OpenBlob(ctx, repository, digest, offset)
	return content, err
}

// OpenBlob is ReadBlob that tells the size of the whole blob in bytes too, -1 when the registry does not.
func (r *Registry) OpenBlob(ctx context.Context, repository string, digest oci.Digest, offset int64) (content io.ReadCloser, size int64, err error) {
	act := "read blob " + repository + " " + digest.String()
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	ctx = auth.AppendRepositoryScope(ctx, r.reference(repository), auth.ActionPull)
	response, err := r.send(ctx, http.MethodGet, r.at("v2", repository, "blobs", digest.String()), nil, header)
	if err != nil {
		return nil, 0, refused(act, err)
	}
	switch {
	case response.StatusCode == http.StatusPartialContent && strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		return response.Body, whole(response.ContentLength, offset), nil
	case response.StatusCode == http.StatusOK:
		// A registry without ranges sends all of it.
		if _, err := io.CopyN(io.Discard, response.Body, offset); err != nil {
			return nil, 0, errors.Join(refused(act, err), response.Body.Close())
		}
		return response.Body, response.ContentLength, nil
	}
	return nil, 0, expect(response, act)
}

// whole is the size of what has a part of a length from an offset on to its end.
func whole(length, offset int64) int64 {
	if length < 0 {
		return -1
	}
	return offset + length
}

// MountBlob has the registry link a blob that another of its repositories has, and reports whether it did.
func (r *Registry) MountBlob(ctx context.Context, repository, from string, digest oci.Digest) (bool, error) {
	act := "mount blob " + digest.String() + " of " + from + " to " + repository
	ctx = auth.AppendRepositoryScope(ctx, r.reference(repository), auth.ActionPull, auth.ActionPush)
	ctx = auth.AppendRepositoryScope(ctx, r.reference(from), auth.ActionPull)
	target := r.at("v2", repository, "blobs", "uploads/")
	target.RawQuery = url.Values{"mount": {digest.String()}, "from": {from}}.Encode()
	response, err := r.send(ctx, http.MethodPost, target, nil, nil)
	if err != nil {
		return false, refused(act, err)
	}
	if response.StatusCode != http.StatusAccepted {
		err := expect(response, act, http.StatusCreated)
		return err == nil, err
	}
	// It began an upload instead, which nobody will finish.
	upload := upload{registry: r, repository: repository}
	if err := upload.follow(response); err == nil {
		upload.cancel(ctx)
	}
	return false, expect(response, act, http.StatusAccepted)
}

// The sizes of the chunks of an upload: they are small after a connection broke, so that little is sent again, and grow by a quarter while
// connections hold: what is on its way when one breaks is lost, and buffers on the way hold more than one would think.
const (
	firstChunk    = 64 << 20
	smallestChunk = 1 << 20
	largestChunk  = 512 << 20
	// largestWhole is the size up to which a blob goes with the request that finishes its upload, as containerd sends all: a request less,
	// and a file less to sync. What breaks then may have to be sent anew.
	largestWhole = 8 << 20
)

// How often a transfer goes on after a fault without having got any further, and how long it waits between.
const (
	fruitlessTries = 8
	firstPause     = 250 * time.Millisecond
	longestPause   = 30 * time.Second
)

// Transfer is what an upload has cost.
type Transfer struct {
	// Sent counts all bytes sent, those that were sent again too; Resumed how often it went on after a fault.
	Sent    int64
	Resumed int
	// Before is how much had arrived already, of an upload that was taken up.
	Before int64
}

// Uploads remembers where the uploads of blobs go on that take several requests, for who takes them up after this process or attempt.
type Uploads interface {
	// Location returns where the upload of a blob goes on, "" when there is none.
	Location(ctx context.Context, digest oci.Digest) (string, error)
	// Keep remembers where it goes on; "" is for one that is over.
	Keep(ctx context.Context, digest oci.Digest, location string) error
	// Abandoned reports whether the context has ended because nobody is to go on.
	Abandoned(ctx context.Context) bool
}

// WriteBlob uploads a blob that open returns from an offset on. When a connection breaks, on whichever side, it asks the registry
// what has arrived and goes on from there; only when it gets no further for several tries it gives up. A registry that has
// forgotten the upload gets it anew. One of [Registry.Remembering] goes on with what an earlier process has left.
func (r *Registry) WriteBlob(ctx context.Context, repository string, blob oci.Descriptor, open func(ctx context.Context, offset int64) (io.ReadCloser, error)) (Transfer, error) {
	ctx = auth.AppendRepositoryScope(ctx, r.reference(repository), auth.ActionPull, auth.ActionPush)
	u := &upload{registry: r, repository: repository, blob: blob, open: open, chunk: firstChunk}
	if r.uploads != nil && blob.Size > firstChunk {
		u.uploads = r.uploads
		if err := u.takeUp(ctx); err != nil {
			return u.transfer, fmt.Errorf("write blob %s %s: %w", repository, blob.Digest, err)
		}
	}
	resumed, err := Persist(ctx, func() int64 { return u.offset }, func(ctx context.Context) error {
		err := u.advance(ctx)
		if err != nil {
			u.chunk = smallestChunk
		}
		return err
	})
	u.transfer.Resumed = resumed
	if err == nil || u.uploads == nil || final(err) || ctx.Err() != nil && u.uploads.Abandoned(ctx) {
		u.end(context.WithoutCancel(ctx), err == nil)
	}
	if err != nil {
		return u.transfer, refused("write blob "+repository+" "+blob.Digest.String(), err)
	}
	return u.transfer, nil
}

// Persist calls advance until it returns nil, and tells how often it was called again. It waits between, longer each time, or for as
// long as a registry asks. It gives up when an error is final, or when for several calls the offset has got no further.
func Persist(ctx context.Context, offset func() int64, advance func(ctx context.Context) error) (resumed int, err error) {
	next, fruitless, furthest := firstPause, 0, int64(-1)
	for {
		err := advance(ctx)
		if err == nil || ctx.Err() != nil || final(err) {
			return resumed, err
		}
		if offset() > furthest {
			furthest, fruitless, next = offset(), 0, firstPause
		}
		if fruitless++; fruitless > fruitlessTries {
			return resumed, fmt.Errorf("got no further than %d bytes in %d tries: %w", furthest, fruitlessTries, err)
		}
		wait := next
		if busy, ok := errors.AsType[*busyError](err); ok {
			wait = max(wait, busy.after)
		}
		if stopped := pause.For(ctx, wait); stopped != nil {
			return resumed, errors.Join(stopped, err)
		}
		next = min(2*next, longestPause)
		resumed++
	}
}

// Final marks an error that another try would only repeat, for [Persist].
func Final(err error) error { return finalError{err} }

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// upload is an upload on its way.
type upload struct {
	registry   *Registry
	repository string
	blob       oci.Descriptor
	open       func(ctx context.Context, offset int64) (io.ReadCloser, error)
	// location is where it goes on, nil before it has begun and after it was forgotten.
	location *url.URL
	offset   int64
	// unsure tells that the registry has to be asked for the offset.
	unsure bool
	// uploads, where it is set, remembers the location, and kept is what it remembers. Of one that was takenUp the registry has not said
	// yet what has arrived.
	uploads Uploads
	kept    string
	takenUp bool
	// done tells that the registry has the blob.
	done     bool
	chunk    int64
	transfer Transfer
}

// errForgotten says that the registry does not know the upload any more.
var errForgotten = errors.New("the registry has forgotten the upload")

// advance takes the upload to its end, or to a fault.
func (u *upload) advance(ctx context.Context) error {
	if u.location == nil {
		if err := u.begin(ctx); err != nil {
			return err
		}
	}
	if u.unsure {
		err := u.ask(ctx)
		if u.takenUp && err != nil && final(err) {
			u.location, u.takenUp = nil, false
			return errForgotten
		}
		if err != nil || u.done {
			return err
		}
		if u.takenUp {
			u.transfer.Before, u.takenUp = u.offset, false
		}
	}
	content := &source{upload: u}
	defer content.close()
	whole := u.offset == 0 && u.blob.Size <= min(u.chunk, largestWhole)
	for u.offset < u.blob.Size && !whole {
		if err := u.send(ctx, content); err != nil || u.done {
			return err
		}
		u.chunk = min(u.chunk+u.chunk/4, largestChunk)
	}
	return u.finish(ctx, content)
}

// takeUp goes on with the upload that is remembered, if there is one.
func (u *upload) takeUp(ctx context.Context) error {
	kept, err := u.uploads.Location(ctx, u.blob.Digest)
	if err != nil || kept == "" {
		return err
	}
	location, err := url.Parse(kept)
	if err != nil {
		return fmt.Errorf("location of an upload: %w", err)
	}
	u.location, u.kept, u.unsure, u.takenUp = location, kept, true, true
	return nil
}

// keep has the location remembered.
func (u *upload) keep(ctx context.Context) error {
	location := u.location.String()
	if u.uploads == nil || location == u.kept {
		return nil
	}
	if err := u.uploads.Keep(ctx, u.blob.Digest, location); err != nil {
		return fmt.Errorf("remember where an upload goes on: %w", err)
	}
	u.kept = location
	return nil
}

// end forgets the upload, and has the registry forget it when it is not done.
func (u *upload) end(ctx context.Context, done bool) {
	if !done {
		u.cancel(ctx)
	}
	if u.kept != "" {
		_ = u.uploads.Keep(ctx, u.blob.Digest, "") // else the registry will not know it
	}
}

func (u *upload) begin(ctx context.Context) error {
	response, err := u.registry.send(ctx, http.MethodPost, u.registry.at("v2", u.repository, "blobs", "uploads/"), nil, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusAccepted {
		return expect(response, "begin upload", http.StatusAccepted)
	}
	defer response.Body.Close()
	u.offset, u.unsure = 0, false
	if err := u.follow(response); err != nil {
		return err
	}
	return u.keep(ctx)
}

// follow takes the location of an answer, which may be relative.
func (u *upload) follow(response *http.Response) error {
	location, err := response.Location()
	if err != nil {
		return fmt.Errorf("the registry named no place to go on: %w", err)
	}
	u.location = location
	return nil
}

// ask learns from the registry how much has arrived.
func (u *upload) ask(ctx context.Context) error {
	response, err := u.registry.send(ctx, http.MethodGet, u.location, nil, nil)
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusNotFound {
		_ = response.Body.Close()
		return u.lost(ctx)
	}
	if response.StatusCode != http.StatusNoContent {
		return expect(response, "ask for upload", http.StatusNoContent)
	}
	defer response.Body.Close()
	if err := u.arrived(response); err != nil {
		return err
	}
	u.unsure = false
	return u.follow(response)
}

// arrived reads the range of an answer: "0-99" for a hundred bytes. Registries say "0-0" of an upload without any.
func (u *upload) arrived(response *http.Response) error {
	_, last, found := strings.Cut(response.Header.Get("Range"), "-")
	end, err := strconv.ParseInt(last, 10, 64)
	switch {
	case !found || err != nil || end < 0 || end >= max(1, u.blob.Size):
		return fmt.Errorf("the registry says that %q has arrived of %d bytes", response.Header.Get("Range"), u.blob.Size)
	case end == 0:
		u.offset = 0
	default:
		u.offset = end + 1
	}
	return nil
}

// lost finds out what became of an upload that the registry does not know: the answer to its end may have been lost.
func (u *upload) lost(ctx context.Context) error {
	u.location = nil
	has, err := u.registry.HasBlob(ctx, u.repository, u.blob.Digest)
	if err != nil {
		return err
	}
	if u.done = has; has {
		return nil
	}
	return errForgotten
}

// send sends a chunk.
func (u *upload) send(ctx context.Context, content *source) error {
	length := min(u.chunk, u.blob.Size-u.offset)
	response, err := u.stream(ctx, http.MethodPatch, u.location, content, length)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusAccepted, http.StatusCreated, http.StatusNoContent:
		content.offset += length
		u.offset += length
		u.unsure = false
		if err := u.follow(response); err != nil {
			return err
		}
		return u.keep(ctx)
	case http.StatusNotFound:
		return u.lost(ctx)
	}
	return failure(response)
}

// stream sends a request with so many bytes of the content. The error is the source's when that broke.
func (u *upload) stream(ctx context.Context, method string, target *url.URL, content *source, length int64) (*http.Response, error) {
	reader, err := content.at(ctx, u.offset)
	if err != nil {
		return nil, err
	}
	counted := &counter{reader: io.LimitReader(reader, length)}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), counted)
	if err != nil {
		return nil, err
	}
	request.ContentLength = length
	request.Header.Set("Content-Type", "application/octet-stream")
	if method == http.MethodPatch {
		request.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, u.offset+length-1))
	}
	u.unsure = true
	response, err := u.registry.client.Do(request)
	if err != nil || response.StatusCode >= http.StatusMultipleChoices {
		content.close() // where it is nobody knows, and who reads it still is to end
	}
	sent, fault := counted.end()
	u.transfer.Sent += sent
	if fault == nil || err == nil && response.StatusCode >= http.StatusMultipleChoices {
		return response, err
	}
	if response != nil {
		_ = response.Body.Close()
	}
	return nil, fault
}

// finish names the digest of what has arrived, and sends what has not with it.
func (u *upload) finish(ctx context.Context, content *source) error {
	target := *u.location
	query := target.Query()
	query.Set("digest", u.blob.Digest.String())
	target.RawQuery = query.Encode()
	u.unsure = true
	var response *http.Response
	var err error
	if rest := u.blob.Size - u.offset; rest > 0 {
		response, err = u.stream(ctx, http.MethodPut, &target, content, rest)
	} else {
		response, err = u.registry.send(ctx, http.MethodPut, &target, nil, http.Header{"Content-Type": {"application/octet-stream"}})
	}
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusNotFound {
		_ = response.Body.Close()
		return u.lost(ctx)
	}
	return expect(response, "finish upload", http.StatusCreated, http.StatusNoContent)
}

// cancel has the registry forget the upload; one that does not goes by itself some day.
func (u *upload) cancel(ctx context.Context) {
	if u.location == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if response, err := u.registry.send(ctx, http.MethodDelete, u.location, nil, nil); err == nil {
		_ = response.Body.Close()
	}
}

// final reports whether an error will be the same at the next try.
func final(err error) bool {
	if _, marked := errors.AsType[finalError](err); marked || errors.Is(err, outbound.ErrForbidden) {
		return true
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, errForgotten) {
		return errors.Is(err, ErrNotFound)
	}
	status, known := statusOf(err)
	return known && status < http.StatusInternalServerError && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout &&
		status != http.StatusUnauthorized && status != http.StatusRequestedRangeNotSatisfiable && status != http.StatusNotFound
}
