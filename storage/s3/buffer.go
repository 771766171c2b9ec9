package s3

import (
	"crypto/md5" // #nosec G501 -- S3 defines its entity tags with it
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
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
	chunks []*[chunkSize]byte
	size   int64
	// slot is set when the buffer counts against the number of parts that may be in memory. The first chunk is free.
	slot bool
}

// space is where the next bytes go: the rest of the last chunk, or nothing.
func (b *buffer) space() []byte {
	used := b.size - int64(len(b.chunks)-1)*chunkSize
	if len(b.chunks) == 0 || used == chunkSize {
		return nil
	}
	return b.chunks[len(b.chunks)-1][used:]
}

// grow adds a chunk.
func (b *buffer) grow() {
	b.chunks = append(b.chunks, chunks.Get().(*[chunkSize]byte))
}

// split cuts the first size bytes, a multiple of the chunk size, off into a buffer of their own. They take the slot with them.
func (b *buffer) split(size int64) *buffer {
	n := size / chunkSize
	head := &buffer{chunks: b.chunks[:n:n], size: size, slot: b.slot}
	*b = buffer{chunks: append([]*[chunkSize]byte(nil), b.chunks[n:]...), size: b.size - size}
	return head
}

// appendTo appends the content to p.
func (b *buffer) appendTo(p []byte) []byte {
	left := b.size
	for _, chunk := range b.chunks {
		n := min(left, chunkSize)
		p = append(p, chunk[:n]...)
		left -= n
	}
	return p
}

// free gives the chunks back.
func (b *buffer) free() {
	for _, chunk := range b.chunks {
		chunks.Put(chunk)
	}
	*b = buffer{}
}

// content reads the bytes of one or more buffers; all but the last are full chunks.
type content struct {
	chunks []*[chunkSize]byte
	size   int64
}

func contentOf(buffers ...*buffer) content {
	var c content
	for _, b := range buffers {
		if b != nil {
			c.chunks = append(c.chunks, b.chunks...)
			c.size += b.size
		}
	}
	return c
}

// writeTo hands the content to w piece by piece; w is a hash.
func (c content) writeTo(w io.Writer) {
	left := c.size
	for _, chunk := range c.chunks {
		n := min(left, chunkSize)
		_, _ = w.Write(chunk[:n])
		left -= n
	}
}

func (c content) crc() uint32 {
	sum := crc32.New(castagnoli)
	c.writeTo(sum)
	return sum.Sum32()
}

// md5 is the entity tag that S3 gives a part with this content.
func (c content) md5() string {
	sum := md5.New() // #nosec G401 -- see the import
	c.writeTo(sum)
	return hex.EncodeToString(sum.Sum(nil))
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
	within := b.offset % chunkSize
	n := copy(p, b.chunks[b.offset/chunkSize][within:min(chunkSize, within+b.size-b.offset)])
	b.offset += int64(n)
	return n, nil
}

func (b *body) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}
