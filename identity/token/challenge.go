package token

import (
	"errors"
	"fmt"
	"strings"
)

// The values of a challenge's error that this registry sends (RFC 6750 section 3.1).
const (
	ErrorInvalidToken      = "invalid_token"
	ErrorInsufficientScope = "insufficient_scope"
)

// Challenge is the value of a WWW-Authenticate header: where a client gets a token, and for what.
type Challenge struct {
	// Scheme is "Bearer" or "Basic".
	Scheme  string
	Realm   string
	Service string
	// Scope holds scopes separated by spaces.
	Scope string
	// Error is set only when a token was presented and did not do.
	Error string
}

// ErrChallenge says that the header is not a challenge.
var ErrChallenge = errors.New("malformed WWW-Authenticate")

// String returns the header's value. Characters that a header cannot hold are left out.
func (c Challenge) String() string {
	var b strings.Builder
	b.WriteString(c.Scheme)
	separator := " "
	for _, parameter := range c.parameters() {
		if *parameter.value == "" {
			continue
		}
		b.WriteString(separator + parameter.name + `="`)
		for i := range len(*parameter.value) {
			switch char := (*parameter.value)[i]; {
			case char == '"' || char == '\\':
				b.WriteByte('\\')
				b.WriteByte(char)
			case char >= ' ' && char != 0x7f:
				b.WriteByte(char)
			}
		}
		b.WriteByte('"')
		separator = ","
	}
	return b.String()
}

type parameter struct {
	name  string
	value *string
}

func (c *Challenge) parameters() []parameter {
	return []parameter{{"realm", &c.Realm}, {"service", &c.Service}, {"scope", &c.Scope}, {"error", &c.Error}}
}

// ParseChallenge reads a header with one challenge. Parameters that [Challenge] does not know are passed over. The error
// wraps [ErrChallenge].
func ParseChallenge(header string) (Challenge, error) {
	var c Challenge
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !isWord(scheme) {
		return Challenge{}, fmt.Errorf("%w: scheme %q", ErrChallenge, scheme)
	}
	switch {
	case strings.EqualFold(scheme, "bearer"):
		c.Scheme = "Bearer"
	case strings.EqualFold(scheme, "basic"):
		c.Scheme = "Basic"
	default:
		c.Scheme = scheme
	}
	rest = strings.Trim(rest, " \t,")
	for rest != "" {
		name, after, found := strings.Cut(rest, "=")
		name = strings.TrimSpace(name)
		if !found || !isWord(name) {
			return Challenge{}, fmt.Errorf("%w: parameter %q", ErrChallenge, name)
		}
		value, remaining, err := parseValue(strings.TrimLeft(after, " \t"))
		if err != nil {
			return Challenge{}, fmt.Errorf("%w: value of %s", err, name)
		}
		for _, known := range c.parameters() {
			if strings.EqualFold(known.name, name) {
				*known.value = value
			}
		}
		remaining = strings.TrimLeft(remaining, " \t")
		if remaining != "" && remaining[0] != ',' {
			return Challenge{}, fmt.Errorf("%w: no comma after %s", ErrChallenge, name)
		}
		rest = strings.TrimLeft(remaining, " \t,")
	}
	return c, nil
}

// parseValue reads a quoted string or a word from the front of s.
func parseValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, " \t,")
		if end < 0 {
			end = len(s)
		}
		if !isWord(s[:end]) {
			return "", "", fmt.Errorf("%w: %q", ErrChallenge, s[:end])
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			if i == len(s) {
				return "", "", fmt.Errorf("%w: ends in a backslash", ErrChallenge)
			}
		}
		if s[i] < ' ' || s[i] == 0x7f {
			return "", "", fmt.Errorf("%w: control character", ErrChallenge)
		}
		b.WriteByte(s[i])
	}
	return "", "", fmt.Errorf("%w: quote is not closed", ErrChallenge)
}

// isWord reports whether s is a token of RFC 9110 section 5.6.2.
func isWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
