package syslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// DefaultLimit is how many bytes wait on disk at most.
	DefaultLimit = 64 << 20
	// MinLimit is the least that a limit may be.
	MinLimit = 1 << 20
	// segments is into how many files the limit is divided; what is dropped is dropped a file at a time.
	segments = 8
	suffix   = ".frames"
	// maxFrame bounds one frame; longer ones are no frames of ours.
	maxFrame = 1 << 20
)

// place is a place in the spool: an offset in a segment.
type place struct {
	Segment int64 `json:"segment"`
	Offset  int64 `json:"offset"`
}

// Spool keeps framed messages on disk until they are sent. What was appended outlives a crash. Beyond its limit the oldest go.
type Spool struct {
	directory string
	// reader is held by whoever sends.
	reader chan struct{}

	mu    sync.Mutex
	limit int64
	// sizes has the segments, of which the last one is written to.
	sizes     map[int64]int64
	current   *os.File
	last      int64
	confirmed place
}

// OpenSpool opens or makes the spool in a directory. One process may have it open once.
func OpenSpool(directory string) (*Spool, error) {
	s := &Spool{directory: directory, limit: DefaultLimit, sizes: map[int64]int64{}, reader: make(chan struct{}, 1)}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open spool %s: %w", directory, err)
	}
	return s, nil
}

func (s *Spool) open() error {
	if err := os.MkdirAll(s.directory, 0o700); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(s.directory, "*"+suffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		number, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), suffix), 10, 64)
		if err != nil {
			continue
		}
		stat, err := os.Stat(name)
		if err != nil {
			return err
		}
		s.sizes[number], s.last = stat.Size(), max(s.last, number)
	}
	text, err := os.ReadFile(s.positionPath())
	if err == nil {
		err = json.Unmarshal(text, &s.confirmed)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.confirmed = place{} // sent again rather than not
	}
	// A crash can have left half a frame at the end.
	if whole, err := s.whole(s.last); err != nil {
		return err
	} else if whole < s.sizes[s.last] {
		if err := os.Truncate(s.path(s.last), whole); err != nil {
			return err
		}
	}
	s.last++
	return s.begin()
}

// whole returns the length of the whole frames of a segment.
func (s *Spool) whole(segment int64) (int64, error) {
	if _, known := s.sizes[segment]; !known {
		return 0, nil
	}
	content, err := os.ReadFile(s.path(segment))
	if err != nil {
		return 0, err
	}
	_, length := countFrames(content)
	return int64(length), nil
}

// countFrames returns how many whole frames there are and how long they are together.
func countFrames(content []byte) (frames, length int) {
	for {
		digits := bytes.IndexByte(content[length:], ' ')
		if digits < 1 {
			return frames, length
		}
		size, err := strconv.Atoi(string(content[length : length+digits]))
		if err != nil || size < 0 || size > maxFrame || length+digits+1+size > len(content) {
			return frames, length
		}
		length += digits + 1 + size
		frames++
	}
}

func (s *Spool) path(segment int64) string {
	return filepath.Join(s.directory, fmt.Sprintf("%016d%s", segment, suffix))
}

func (s *Spool) positionPath() string { return filepath.Join(s.directory, "position") }

// begin makes the segment s.last.
func (s *Spool) begin() error {
	file, err := os.OpenFile(s.path(s.last), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if s.current != nil {
		err = s.current.Close()
	}
	s.current, s.sizes[s.last] = file, 0
	return errors.Join(err, syncDirectory(s.directory))
}

func syncDirectory(path string) error {
	directory, err := os.Open(path) //nolint:gosec // the operator's directory
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// Limit sets how many bytes wait at most.
func (s *Spool) Limit(limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = max(limit, MinLimit)
}

// Append adds frames, durably, and returns how many older ones had to go for them.
func (s *Spool) Append(frames []byte) (dropped int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err = s.current.Write(frames); err == nil {
		err = s.current.Sync()
	}
	if err != nil {
		// Half a frame must not be followed by others.
		return 0, errors.Join(fmt.Errorf("append to spool: %w", err), s.current.Truncate(s.sizes[s.last]))
	}
	s.sizes[s.last] += int64(len(frames))
	if s.sizes[s.last] >= s.limit/segments {
		s.last++
		if err := s.begin(); err != nil {
			return 0, fmt.Errorf("append to spool: %w", err)
		}
	}
	return s.shrink()
}

// shrink removes the oldest segments while there is too much.
func (s *Spool) shrink() (dropped int, err error) {
	for s.size() > s.limit && len(s.sizes) > 1 {
		oldest := slices.Min(s.numbers())
		content, err := os.ReadFile(s.path(oldest))
		if err != nil {
			return dropped, fmt.Errorf("shrink spool: %w", err)
		}
		if s.confirmed.Segment == oldest {
			content = content[min(s.confirmed.Offset, int64(len(content))):]
		}
		frames, _ := countFrames(content)
		if err := s.remove(oldest); err != nil {
			return dropped, fmt.Errorf("shrink spool: %w", err)
		}
		dropped += frames
	}
	return dropped, nil
}

func (s *Spool) numbers() []int64 {
	return slices.Sorted(maps.Keys(s.sizes))
}

func (s *Spool) size() (total int64) {
	for _, size := range s.sizes {
		total += size
	}
	return total
}

func (s *Spool) remove(segment int64) error {
	err := os.Remove(s.path(segment))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		delete(s.sizes, segment)
	}
	return err
}

// start returns where to send from.
func (s *Spool) start() place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed
}

// read returns whole frames from a place on, up to about n bytes, and the place after them; none at the end.
func (s *Spool) read(from place, n int) (frames []byte, next place, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range s.numbers() {
		if number < from.Segment {
			continue
		}
		if number > from.Segment {
			from = place{Segment: number}
		}
		if from.Offset >= s.sizes[number] {
			continue
		}
		file, err := os.Open(s.path(number))
		if err != nil {
			return nil, from, fmt.Errorf("read spool: %w", err)
		}
		frames, err := io.ReadAll(io.NewSectionReader(file, from.Offset, min(s.sizes[number]-from.Offset, int64(n)+maxFrame)))
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, from, fmt.Errorf("read spool: %w", err)
		}
		whole := 0
		for whole < len(frames) && whole < n {
			_, one := countFrames(firstFrame(frames[whole:]))
			if one == 0 {
				break
			}
			whole += one
		}
		if whole == 0 {
			from.Offset = s.sizes[number] // damaged: nothing after it can be made sense of
			continue
		}
		return frames[:whole], place{number, from.Offset + int64(whole)}, nil
	}
	return nil, from, nil
}

// firstFrame cuts a frame off, so that counting goes no further.
func firstFrame(content []byte) []byte {
	digits := bytes.IndexByte(content, ' ')
	if digits < 1 {
		return nil
	}
	size, err := strconv.Atoi(string(content[:digits]))
	if err != nil || size < 0 || size > maxFrame {
		return nil
	}
	return content[:min(digits+1+size, len(content))]
}

// confirm notes that what is before the place was received, and removes it.
func (s *Spool) confirm(at place) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	temporary := s.positionPath() + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return fmt.Errorf("confirm spool: %w", err)
	}
	if err := os.Rename(temporary, s.positionPath()); err != nil {
		return fmt.Errorf("confirm spool: %w", err)
	}
	s.confirmed = at
	for _, number := range s.numbers() {
		if number < at.Segment && number != s.last {
			if err := s.remove(number); err != nil {
				return fmt.Errorf("confirm spool: %w", err)
			}
		}
	}
	return nil
}

// Waiting returns how many bytes wait.
func (s *Spool) Waiting() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := int64(0)
	for number, size := range s.sizes {
		switch {
		case number > s.confirmed.Segment:
			waiting += size
		case number == s.confirmed.Segment:
			waiting += max(0, size-s.confirmed.Offset)
		}
	}
	return waiting
}

// Close closes the spool.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Close()
}
