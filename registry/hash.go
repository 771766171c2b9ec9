package registry

import (
	"context"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/berth-registry/berth/oci"
)

// tapChunk bounds how many bytes pass the tap at once, and backgroundChunk is the size from which handing a chunk to another
// goroutine costs less than hashing it in place.
const (
	tapChunk        = 256 << 10
	backgroundChunk = 64 << 10
)

var copies = sync.Pool{New: func() any { return new([tapChunk]byte) }}

// digester is the running hashes of one upload.
type digester map[oci.Algorithm]hash.Hash

func newDigester(algorithms ...oci.Algorithm) digester {
	d := make(digester, len(algorithms))
	for _, a := range algorithms {
		d[a] = oci.NewHash(a)
	}
	return d
}

// restoreDigester continues from stored states.
func restoreDigester(states map[oci.Algorithm][]byte) (digester, error) {
	d := make(digester, len(states))
	for a, state := range states {
		h, err := oci.UnmarshalHash(a, state)
		if err != nil {
			return nil, err
		}
		d[a] = h
	}
	return d, nil
}

// states returns what restoreDigester continues from.
func (d digester) states() (map[oci.Algorithm][]byte, error) {
	states := make(map[oci.Algorithm][]byte, len(d))
	for a, h := range d {
		state, err := oci.MarshalHash(h)
		if err != nil {
			return nil, fmt.Errorf("keep %s of the upload: %w", a, err)
		}
		states[a] = state
	}
	return states, nil
}

// tap is a request's body on its way to storage. What passes is hashed while the storage writes it, from a copy: the storage may
// give its buffer to another upload at any time.
type tap struct {
	body      io.Reader
	cancelled func() error
	hashes    digester
	// total is the number of bytes that were hashed, err the error that ended the body (io.EOF at its end).
	total int64
	err   error

	// copied is what the workers hash; they are done with it when nothing is pending.
	copied  *[tapChunk]byte
	workers []chan []byte
	pending sync.WaitGroup
}

func newTap(ctx context.Context, body io.Reader, hashes digester) *tap {
	return &tap{body: body, cancelled: ctx.Err, hashes: hashes}
}

// Read fills p as far as it can before it returns, so that a body that arrives in network packets is hashed and written in
// larger pieces. An error comes alone, after the bytes before it.
func (t *tap) Read(p []byte) (int, error) {
	t.pending.Wait()
	if t.err == nil {
		t.err = t.cancelled()
	}
	if t.err != nil {
		return 0, t.err
	}
	p = p[:min(len(p), tapChunk)]
	n := 0
	for empty := 0; n < len(p) && t.err == nil; {
		var m int
		m, t.err = t.body.Read(p[n:])
		n += m
		if m == 0 && t.err == nil {
			if empty++; empty == 100 {
				t.err = io.ErrNoProgress
			}
		}
	}
	if n == 0 {
		return 0, t.err
	}
	t.total += int64(n)
	t.hash(p[:n])
	return n, nil
}

func (t *tap) hash(p []byte) {
	if len(p) < backgroundChunk && t.workers == nil {
		for _, h := range t.hashes {
			h.Write(p)
		}
		return
	}
	if t.workers == nil {
		t.copied = copies.Get().(*[tapChunk]byte)
		for _, h := range t.hashes {
			work := make(chan []byte)
			t.workers = append(t.workers, work)
			go func() {
				for p := range work {
					h.Write(p)
					t.pending.Done()
				}
			}()
		}
	}
	mine := t.copied[:copy(t.copied[:], p)]
	t.pending.Add(len(t.workers))
	for _, work := range t.workers {
		work <- mine
	}
}

// close waits for the hashes and ends their goroutines. The tap must not be read after it.
func (t *tap) close() {
	t.pending.Wait()
	for _, work := range t.workers {
		close(work)
	}
	if t.copied != nil {
		copies.Put(t.copied)
	}
	t.workers, t.copied = nil, nil
}

// failed returns the error that ended the body before its end, nil when it was read whole or not to its end.
func (t *tap) failed() error {
	if t.err == io.EOF { //nolint:errorlint // one that wraps io.EOF is a connection that broke
		return nil
	}
	return t.err
}
