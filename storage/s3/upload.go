package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/berth-registry/berth/storage"
)

// slotWait is how long an upload waits for memory before its part goes to disk. It slows clients down to what the server takes;
// those whose own clients stand still, and keep the memory, may not slow down others by more.
const slotWait = 250 * time.Millisecond

var errFinished = errors.New("the upload is finished")

// upload is one object being written. Two parts at most are held here: filling takes the caller's bytes while sending is on its
// way. Until there is more than fits into both, nothing is sent, so that a small blob costs one request.
type upload struct {
	backend  *Backend
	key      string
	secret   []byte // of the parts' fingerprints
	uploadID string // of the multipart upload, once there is one
	parts    []part // that the server has
	filling  *buffer
	sending  *buffer     // a whole part, or nil
	result   chan result // of the request that sends it; nil while none is on its way
	stop     context.CancelFunc
	offset   int64

	// suspended is set once somebody else may have a state of this upload.
	suspended bool
	committed string // the key, once committed
	finished  bool
}

// result is how the sending of a part ended.
type result struct {
	uploadID string
	part     part
	err      error
}

// Begin starts an upload. It sends no request.
func (b *Backend) Begin(ctx context.Context) (storage.Upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, err := storage.NewKey()
	if err != nil {
		return nil, err
	}
	secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	return &upload{backend: b, key: key, secret: secret, filling: new(buffer)}, nil
}

// Resume continues an upload without a request: whether the server still has its parts shows when they are completed.
func (b *Backend) Resume(ctx context.Context, encoded []byte) (storage.Upload, error) {
	s, err := decodeState(encoded)
	if err != nil {
		return nil, err
	}
	u := &upload{
		backend: b, key: s.Key, secret: s.Secret, uploadID: s.UploadID, parts: s.Parts, filling: new(buffer),
		suspended: true, offset: s.offset(),
	}
	for tail := s.tail; len(tail) > 0; {
		if err := u.makeSpace(ctx); err != nil {
			return nil, errors.Join(err, u.Close())
		}
		n := copy(u.filling.space(), tail)
		u.filling.size += int64(n)
		tail = tail[n:]
	}
	return u, nil
}

// Offset returns the number of bytes taken.
func (u *upload) Offset() int64 { return u.offset }

// Append reads r into the part that is being filled while the one before is sent. On a [*storage.RetryableError] every byte
// that was read is taken; the part that could not be sent is sent again by the next call.
func (u *upload) Append(ctx context.Context, r io.Reader) (int64, error) {
	var total int64
	if u.finished {
		return 0, fmt.Errorf("append to upload %s: %w", u.key, errFinished)
	}
	for idle := 0; ; {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		if err := u.settle(ctx); err != nil {
			return total, err
		}
		if err := u.makeSpace(ctx); err != nil {
			return total, err
		}
		n, err := r.Read(u.filling.space())
		u.filling.size += int64(n)
		u.offset += int64(n)
		total += int64(n)
		if idle++; n > 0 {
			idle = 0
		}
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		case idle == 100:
			return total, io.ErrNoProgress
		}
	}
}

// makeSpace gives filling a chunk to write to. The first chunk is free; with the second the buffer takes one of the slots that
// bound the parts in memory, or goes to disk when it gets none. An upload that waits for a slot holds none, so that all of them
// make progress.
func (u *upload) makeSpace(ctx context.Context) error {
	switch {
	case len(u.filling.space()) > 0:
		return nil
	case len(u.filling.chunks) == 0, u.filling.slot:
		u.filling.grow()
		return nil
	case u.filling.file != nil:
		return u.spill()
	}
	if !u.backend.slots.TryAcquire(1) {
		if err := u.drain(ctx); err != nil {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, slotWait)
		defer cancel()
		if err := u.backend.slots.Acquire(waiting, 1); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return u.spill()
		}
	}
	u.filling.slot = true
	u.filling.grow()
	return nil
}

// spill makes space by writing to disk.
func (u *upload) spill() error {
	if err := u.filling.spill(u.backend.config.SpillDirectory); err != nil {
		return &storage.RetryableError{After: 5 * time.Second, Err: fmt.Errorf("the memory for uploads is in use, and so is the disk: %w", err)}
	}
	return nil
}

// settle moves whole parts out of filling once there is a byte beyond them.
func (u *upload) settle(ctx context.Context) error {
	for u.filling.size > u.backend.config.PartSize {
		if err := u.drain(ctx); err != nil {
			return err
		}
		u.sending = u.filling.split(u.backend.config.PartSize)
		if u.uploadID != "" {
			u.send(ctx)
		}
	}
	return nil
}

// send starts to send the part in sending. It outlives the caller's context, for the bytes were taken; Close ends it.
func (u *upload) send(ctx context.Context) {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan result, 1)
	u.stop, u.result = stop, done
	number, uploadID, whole := len(u.parts)+1, u.uploadID, contentOf(u.sending)
	go func() { done <- u.backend.sendPart(background, u.key, uploadID, u.secret, number, whole) }()
}

// drain waits until sending was sent, and starts that if need be.
func (u *upload) drain(ctx context.Context) error {
	if u.sending == nil {
		return nil
	}
	if u.result == nil {
		u.send(ctx)
	}
	select {
	case r := <-u.result:
		return u.sent(r)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sent takes the result of sending a part. After a failure the part stays where it is.
func (u *upload) sent(r result) error {
	u.stop()
	u.stop, u.result = nil, nil
	u.uploadID = r.uploadID
	if r.err != nil {
		return r.err
	}
	u.parts = append(u.parts, r.part)
	u.release(u.sending)
	u.sending = nil
	return nil
}

// release gives the memory of a buffer back.
func (u *upload) release(b *buffer) {
	if b == nil {
		return
	}
	if b.slot {
		u.backend.slots.Release(1)
	}
	b.free()
}

// flush sends whole parts, and what is left over when it is at least atLeast bytes.
func (u *upload) flush(ctx context.Context, atLeast int64) error {
	if err := u.settle(ctx); err != nil {
		return err
	}
	if err := u.drain(ctx); err != nil {
		return err
	}
	if u.filling.size < atLeast {
		return nil
	}
	u.sending, u.filling = u.filling, new(buffer)
	return u.drain(ctx)
}

// Suspend sends everything but a tail that is too small for a part, and returns that with the state.
func (u *upload) Suspend(ctx context.Context) ([]byte, error) {
	if u.finished {
		return nil, fmt.Errorf("suspend upload %s: %w", u.key, errFinished)
	}
	if err := u.flush(ctx, MinPartSize); err != nil {
		return nil, err
	}
	var tail bytes.Buffer
	if err := contentOf(u.filling).writeTo(&tail); err != nil {
		return nil, fmt.Errorf("suspend upload %s: %w", u.key, err)
	}
	u.suspended = true
	return state{Key: u.key, UploadID: u.uploadID, Secret: u.secret, Parts: u.parts, tail: tail.Bytes()}.encode()
}

// Commit completes the object: with one PUT when nothing was sent so far.
func (u *upload) Commit(ctx context.Context) (string, error) {
	if u.committed != "" {
		return u.committed, nil
	}
	if u.finished {
		return "", fmt.Errorf("commit upload %s: %w", u.key, errFinished)
	}
	key, err := u.commit(ctx)
	if err != nil {
		return "", err
	}
	u.committed, u.finished = key, true
	u.discard()
	return key, nil
}

func (u *upload) commit(ctx context.Context) (string, error) {
	if u.uploadID == "" && u.result == nil {
		whole := contentOf(u.sending, u.filling)
		key, err := u.smallKey(whole)
		if err != nil {
			return "", err
		}
		if err := u.backend.put(ctx, key, whole); err != nil {
			return "", err
		}
		return key, nil
	}
	err := u.flush(ctx, 1)
	switch {
	case err == nil:
		err = u.backend.complete(ctx, u.key, u.uploadID, u.secret, u.parts)
	case u.sending != nil && (errors.Is(err, storage.ErrNotFound) || isRetryable(err)):
		// The multipart upload may be gone because an earlier commit of the same bytes completed it. A server that says so before
		// it has read the part may reset the connection, and its answer is lost.
		last := contentOf(u.sending)
		tag, readErr := last.md5()
		if readErr != nil {
			return "", errors.Join(err, readErr)
		}
		parts := append(slices.Clip(u.parts), part{ETag: tag, Size: last.size})
		err = u.backend.findCompleted(ctx, u.key, parts, err)
	}
	if err != nil {
		return "", err
	}
	return u.key, nil
}

// Abort forgets the parts. An object that was committed stays.
func (u *upload) Abort(ctx context.Context) error {
	if u.committed != "" {
		return nil
	}
	u.finished = true
	u.discard()
	if u.uploadID == "" {
		return nil
	}
	return u.backend.abort(ctx, u.key, u.uploadID)
}

// Close ends the request that is on its way and gives the memory back.
func (u *upload) Close() error {
	u.finished = true
	u.discard()
	return nil
}

// discard drops the bytes in memory. The request that reads them is ended first.
func (u *upload) discard() {
	if u.result != nil {
		u.stop()
		// Its error is of no interest, but the upload that it may have created is.
		_ = u.sent(<-u.result)
	}
	u.release(u.sending)
	u.release(u.filling)
	u.sending, u.filling = nil, new(buffer)
}
