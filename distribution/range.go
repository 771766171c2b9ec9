package distribution

import (
	"net/textproto"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

// maxRanges bounds the parts of one response; who asks for more gets the whole.
const maxRanges = 64

// parseContentRange reads where a chunk stands in its upload: "<first>-<last>" as distribution-spec has it, or
// "bytes <first>-<last>/<size or *>" as RFC 9110 has it. It returns the first byte and the length. The error is an [*oci.Error]
// with [oci.CodeBlobUploadInvalid].
func parseContentRange(header string) (first, length int64, err error) {
	invalid := func() (int64, int64, error) {
		return 0, 0, oci.NewError(oci.CodeBlobUploadInvalid, "Content-Range %q is not of the form <first byte>-<last byte>", header)
	}
	text := header
	if rest, ok := strings.CutPrefix(text, "bytes "); ok {
		if text, _, ok = strings.Cut(rest, "/"); !ok {
			return invalid()
		}
	}
	begin, end, ok := strings.Cut(text, "-")
	if !ok {
		return invalid()
	}
	first, ok = parseBytes(begin)
	if !ok {
		return invalid()
	}
	last, ok := parseBytes(end)
	if !ok || last < first {
		return invalid()
	}
	return first, last - first + 1, nil
}

// parseRange reads a Range header (RFC 9110) against content of a size. No ranges without an error means the whole: the header is
// empty, of another unit or malformed, which RFC 9110 tells to ignore, or asks for too many parts. It reports false when it is
// well-formed and nothing of it can be had.
//
// A last byte before the first makes a header invalid, not unsatisfiable, by the letter; but clients that check know only 416.
func parseRange(header string, size int64) (ranges []registry.Range, satisfiable bool) {
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return nil, true
	}
	asked := 0
	for part := range strings.SplitSeq(list, ",") {
		part = textproto.TrimString(part)
		if part == "" {
			continue
		}
		begin, end, ok := strings.Cut(part, "-")
		if !ok {
			return nil, false
		}
		asked++
		r, ok := parsePart(textproto.TrimString(begin), textproto.TrimString(end), size)
		if !ok {
			return nil, false
		}
		if r.Length > 0 {
			ranges = append(ranges, r)
		}
	}
	if len(ranges) > maxRanges {
		return nil, true
	}
	return ranges, asked == 0 || len(ranges) > 0
}

// parsePart reads one "first-last", "first-" or "-suffix". A length of 0 says that it lies beyond the end.
func parsePart(begin, end string, size int64) (registry.Range, bool) {
	if begin == "" {
		suffix, ok := parseBytes(end)
		suffix = min(suffix, size)
		return registry.Range{Start: size - suffix, Length: suffix}, ok
	}
	first, ok := parseBytes(begin)
	if !ok {
		return registry.Range{}, false
	}
	last := size - 1
	if end != "" {
		if last, ok = parseBytes(end); !ok || last < first {
			return registry.Range{}, false
		}
		last = min(last, size-1)
	}
	if first >= size {
		return registry.Range{}, true
	}
	return registry.Range{Start: first, Length: last - first + 1}, true
}

// parseBytes reads a number of bytes: digits only, where strconv would also take a sign.
func parseBytes(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n < 1<<62
}
