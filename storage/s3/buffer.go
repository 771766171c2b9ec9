package s3

import (
	"crypto/md5" // #nosec G501 -- S3 defines its entity tags with it
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// chunkSize is the grain of the memory of uploads: a part is a list of chunks, so that a small blob costs one and nothing is
// copied when a part grows.
const chunkSize = 256 << 10

var (
	chunks     = sync.Pool{New: func() any { return new([chunkSize]byte) }}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// buffer holds the bytes of a part.
type buffer struct {
	// file, if there is one, has the first filed bytes, in whole chunks; the chunks have the rest.
	file   *os.File
	filed  int64
	chunks []*[chunkSize]byte
	size   int64
	// slot is set when the buffer counts against the number of parts that may be in memory. The first chunk is free.
	slot bool
}

// space is where the next bytes go: the rest of the last chunk, or nothing.
func (b *buffer) space() []byte {
	used := b.size - b.filed - int64(len(b.chunks)-1)*chunkSize
	if len(b.chunks) == 0 || used == chunkSize {
		return nil
	}
	return b.chunks[len(b.chunks)-1][used:]
}

// grow adds a chunk.
func (b *buffer) grow() {
	b.chunks = append(b.chunks, chunks.Get().(*[chunkSize]byte))
}

// spill moves the only chunk, which is full, to a file without a name, and leaves it empty.
func (b *buffer) spill(directory string) error {
	if b.file == nil {
		file, err := os.CreateTemp(directory, "part-*")
		if err != nil {
			return err
		}
		if err := os.Remove(file.Name()); err != nil {
			return errors.Join(err, file.Close())
		}
		b.file = file
	}
	if _, err := b.file.WriteAt(b.chunks[0][:], b.filed); err != nil {
		return err
	}
	b.filed += chunkSize
	return nil
}

// split cuts the first size bytes, a multiple of the chunk size, off into a buffer of their own. They take the slot and the file
// with them.
func (b *buffer) split(size int64) *buffer {
	n := (size - b.filed) / chunkSize
	head := &buffer{file: b.file, filed: b.filed, chunks: b.chunks[:n:n], size: size, slot: b.slot}
	*b = buffer{chunks: append([]*[chunkSize]byte(nil), b.chunks[n:]...), size: b.size - size}
	return head
}

// free gives the chunks back and lets go of the file.
func (b *buffer) free() {
	for _, chunk := range b.chunks {
		chunks.Put(chunk)
	}
	if b.file != nil {
		_ = b.file.Close() // nobody wants to know what becomes of it
	}
	*b = buffer{}
}

// content reads the bytes of one or more buffers, as they are now.
type content struct {
	buffers []buffer
	size    int64
}

func contentOf(buffers ...*buffer) content {
	var c content
	for _, b := range buffers {
		if b != nil {
			c.buffers = append(c.buffers, *b)
			c.size += b.size
		}
	}
	return c
}

// piece returns bytes from offset on, at least one and as many as lie together. What is in a file is read into scratch.
func (c content) piece(offset int64, scratch []byte) ([]byte, error) {
	for _, b := range c.buffers {
		if offset >= b.size {
			offset -= b.size
			continue
		}
		if offset < b.filed {
			n, err := b.file.ReadAt(scratch[:min(int64(len(scratch)), b.filed-offset)], offset)
			if n > 0 {
				err = nil
			}
			return scratch[:n], err
		}
		offset -= b.filed
		within := offset % chunkSize
		return b.chunks[offset/chunkSize][within:min(chunkSize, within+b.size-b.filed-offset)], nil
	}
	return nil, io.EOF
}

// writeTo hands the content to w piece by piece; w is a hash.
func (c content) writeTo(w io.Writer) error {
	scratch := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(scratch)
	for offset := int64(0); offset < c.size; {
		piece, err := c.piece(offset, scratch[:])
		if err != nil {
			return err
		}
		_, _ = w.Write(piece)
		offset += int64(len(piece))
	}
	return nil
}

func (c content) crc() (uint32, error) {
	sum := crc32.New(castagnoli)
	err := c.writeTo(sum)
	return sum.Sum32(), err
}

// md5 is the entity tag that S3 gives a part with this content.
func (c content) md5() (string, error) {
	sum := md5.New() // #nosec G401 -- see the import
	err := c.writeTo(sum)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// body is a content as the body of one request. The HTTP transport may go on reading after it has reported an error, so the
// chunks may be reused only after stop.
type body struct {
	content
	touch func()

	mu      sync.Mutex
	offset  int64
	stopped bool
}

var errStopped = errors.New("the request is over")

// Read tells the request's watchdog of the progress.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stopped:
		return 0, errStopped
	case b.offset == b.size:
		return 0, io.EOF
	}
	b.touch()
	piece, err := b.piece(b.offset, p)
	n := copy(p, piece)
	b.offset += int64(n)
	return n, err
}

func (b *body) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}
