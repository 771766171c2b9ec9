package oci

import (
	"fmt"
	"strings"
)

// MaxRepositoryLength is the longest repository name that is accepted, in bytes. Clients count the registry's host into
// their limit of 255, so a longer name could be pushed by one client and never be pulled by another.
const MaxRepositoryLength = 255

// MaxTagLength is the longest tag, in bytes, as distribution-spec 1.1 "Pulling manifests" rules.
const MaxTagLength = 128

// Repository is a valid repository name, "project/name" or "project/group/name".
type Repository string

// ParseRepository checks name against the grammar of distribution-spec 1.1 and returns it. The error is an [*Error] with
// [CodeNameInvalid].
func ParseRepository(name string) (Repository, error) {
	if len(name) > MaxRepositoryLength {
		return "", NewError(CodeNameInvalid, "repository name is %d bytes long, at most %d are allowed", len(name), MaxRepositoryLength)
	}
	if !isRepository(name) {
		return "", NewError(CodeNameInvalid, "repository name %q must be lower-case letters, digits, and single . _ __ or - between them, in parts separated by /", name)
	}
	return Repository(name), nil
}

// Project returns the part before the first slash, and "" for a name without one: such a repository belongs to no project.
func (r Repository) Project() string {
	project, _, found := strings.Cut(string(r), "/")
	if !found {
		return ""
	}
	return project
}

// String returns the name.
func (r Repository) String() string { return string(r) }

// ParseTag checks a tag against the grammar of distribution-spec 1.1. The error is an [*Error] with [CodeManifestInvalid],
// because the specification has no code of its own for a bad tag.
func ParseTag(tag string) (string, error) {
	if !isTag(tag) {
		return "", NewError(CodeManifestInvalid, "tag %q must be 1 to %d letters, digits, _ . or -, and may not begin with . or -", tag, MaxTagLength)
	}
	return tag, nil
}

// isRepository matches the specification's pattern, [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* in parts separated by slashes, by hand: every
// request checks a name, and a regular expression would cost more than all else in a pull from memory.
func isRepository(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if !isRepositoryPart(part) {
			return false
		}
	}
	return true
}

func isRepositoryPart(part string) bool {
	for {
		rest := strings.TrimLeft(part, "abcdefghijklmnopqrstuvwxyz0123456789")
		if len(rest) == len(part) {
			return false // empty, or a separator without a letter or digit beside it
		}
		if rest == "" {
			return true
		}
		switch {
		case rest[0] == '.':
			part = rest[1:]
		case strings.HasPrefix(rest, "__"):
			part = rest[2:]
		case rest[0] == '_':
			part = rest[1:]
		default:
			if part = strings.TrimLeft(rest, "-"); len(part) == len(rest) {
				return false
			}
		}
	}
}

// isTag matches [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func isTag(tag string) bool {
	if tag == "" || len(tag) > MaxTagLength || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for i := range len(tag) {
		switch c := tag[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// Reference is what stands behind "manifests/": a tag or a digest; exactly one is set.
type Reference struct {
	Tag    string
	Digest Digest
}

// ParseReference reads a tag or a digest. What contains a colon is a digest, since a tag cannot contain one. The error is
// that of [ParseTag] or [ParseDigest].
func ParseReference(reference string) (Reference, error) {
	if strings.Contains(reference, ":") {
		digest, err := ParseDigest(reference)
		return Reference{Digest: digest}, err
	}
	tag, err := ParseTag(reference)
	return Reference{Tag: tag}, err
}

// String returns the tag or the digest.
func (r Reference) String() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

// Named is a reference within a repository, for messages.
func (r Reference) Named(repository Repository) string {
	if r.Digest != "" {
		return fmt.Sprintf("%s@%s", repository, r.Digest)
	}
	return fmt.Sprintf("%s:%s", repository, r.Tag)
}
