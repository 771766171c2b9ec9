package proxy

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// What has come of a blob is told to other gateways in parts. A part is made of partSize bytes, or of fewer when so much time has passed
// since the last: a little more each time, so that there are not many parts of what comes slowly.
const (
	partSize  = 16 << 20
	partsPage = 100
	// ripening is by which part of the time that a blob has taken so far the pause between parts grows, up to longestTells times
	// [Options.Tell].
	ripening     = 16
	longestTells = 20
)

// tell has other gateways know what has come of the blob, as long as one of them wants it: they serve it while it comes, and go on
// where this one ends.
func (w *way) tell(ctx context.Context, size int64) {
	options := &w.fetch.repository.cache.options
	began, last, told := time.Now(), time.Time{}, int64(-1)
	ticker := time.NewTicker(options.Tell)
	defer ticker.Stop()
	for size > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		here, _, _, err := w.spool.look()
		if err != nil {
			return
		}
		fetch, err := options.Store.Fetch(ctx, w.fetch.name())
		if err != nil || !fetch.Wanted {
			continue
		}
		if told < 0 {
			told, err = w.toldBefore(ctx, size)
		}
		pause := min(2*options.Tell+time.Since(began)/ripening, longestTells*options.Tell)
		// The last byte is for who compares the digest.
		for here = min(here, size-1); err == nil && (fetch.Size < 0 || here-told >= partSize || here > told && time.Since(last) >= pause); last = time.Now() {
			n := max(min(here-told, partSize), 0)
			if err = w.tellPart(ctx, size, told, n); err == nil {
				told, fetch.Size = told+n, size
			}
		}
		if err != nil && ctx.Err() == nil {
			options.Logger.WarnContext(ctx, "other gateways wait for what this one has of a blob", "fetch", w.fetch.name(), "error", err)
		}
	}
}

// toldBefore returns up to where another gateway, which has died, has told of the blob.
func (w *way) toldBefore(ctx context.Context, size int64) (int64, error) {
	parts, err := w.fetch.repository.cache.options.Store.FetchParts(ctx, w.fetch.name(), size, 1)
	if err != nil || len(parts) == 0 {
		return 0, err
	}
	return parts[0].Start + parts[0].Length, nil
}

// tellPart stores a part, which may have no bytes, and tells of it and of the size of the whole.
func (w *way) tellPart(ctx context.Context, size, start, length int64) error {
	c, name := w.fetch.repository.cache, w.fetch.name()
	part := metadata.FetchPart{Start: start, Length: length}
	if length > 0 {
		var err error
		if part.StorageKey, err = c.options.Content.KeepPart(ctx, io.NewSectionReader(w.spool.file, start, length)); err != nil {
			return err
		}
	}
	return c.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.LeaseFetch(ctx, name, c.holder, c.options.Lease); err != nil {
			return err
		}
		if err := tx.SetFetchSize(ctx, name, size); err != nil || length == 0 {
			return err
		}
		return tx.AddFetchPart(ctx, name, part)
	})
}

// follow takes what another gateway has told of the blob, and reports whether that is all: the blob is here.
func (w *way) follow(ctx context.Context) (bool, error) {
	f, content := w.fetch, w.fetch.repository.cache.options.Content
	_, err := content.Blob(ctx, f.repository.name, f.digest)
	switch {
	case oci.HasCode(err, oci.CodeBlobUnknown):
		return false, w.takeParts(ctx)
	case err != nil:
		return false, err
	}
	if w.spool != nil {
		kept, err := content.ReadBlob(ctx, f.repository.name, f.digest, w.offset)
		if err != nil {
			return false, err
		}
		_, err = io.Copy(w, kept)
		if err = errors.Join(err, kept.Close()); err == nil {
			err = w.compare()
		}
		if err != nil {
			return false, err
		}
	}
	f.kept = true
	return true, nil
}

// takeParts takes the parts that there are, and has the gateway that fetches the blob make more.
func (w *way) takeParts(ctx context.Context) error {
	c, name := w.fetch.repository.cache, w.fetch.name()
	store := c.options.Store
	fetch, err := store.Fetch(ctx, name)
	if errors.Is(err, metadata.ErrNotFound) {
		return nil
	}
	if err == nil && fetch.Holder != c.holder && !fetch.Wanted {
		err = store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.WantFetch(ctx, name) })
	}
	if err != nil {
		return databaseDown(err)
	}
	if fetch.Size < 0 {
		return nil
	}
	if err := w.begin(fetch.Size); err != nil {
		return err
	}
	for {
		before := w.offset
		parts, err := store.FetchParts(ctx, name, before, partsPage)
		if err != nil {
			return databaseDown(err)
		}
		for _, part := range parts {
			if part.Start > w.offset || part.Start+part.Length <= w.offset {
				continue
			}
			if err := w.takePart(ctx, part); errors.Is(err, errNoRoom) {
				return err
			} else if err != nil {
				// It may be gone because the blob is here, and it is nothing that nobody else has.
				c.options.Logger.DebugContext(ctx, "a part of a blob cannot be read", "fetch", name, "error", err)
				return ctx.Err()
			}
		}
		if w.offset == before {
			return nil
		}
	}
}

func (w *way) takePart(ctx context.Context, part metadata.FetchPart) error {
	content, err := w.fetch.repository.cache.options.Content.OpenPart(ctx, part.StorageKey)
	if err != nil {
		return err
	}
	defer content.Close()
	skipped := w.offset - part.Start
	if _, err := io.CopyN(io.Discard, content, skipped); err != nil {
		return err
	}
	_, err = io.CopyN(w, content, part.Length-skipped)
	return err
}
