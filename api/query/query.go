// Package query reads how Harbor's clients filter and sort lists: the parameters q and sort.
//
// A filter is made of terms with commas between them, each a field and what it must be:
//
//	name=alpine          equal; a backslash in front keeps what follows from being read as one of the other forms
//	name=~alp            contains, in whatever case
//	push_time=[2026-01-01T00:00:00~]  between; either end may be missing
//	type={IMAGE 'my CHART'}  one of
//	labels=(1 2)         all of
package query

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Form is how a term's values are meant.
type Form int

// The forms.
const (
	Exact Form = iota + 1
	Fuzzy
	Range
	Union
	Intersection
)

// Term is one condition.
type Term struct {
	Field string
	Form  Form
	// Values are string, int64 or [time.Time]; those of a range are two, nil for an end that is missing. An exact or fuzzy value
	// is always a string.
	Values []any
}

// Sort is one key of the order.
type Sort struct {
	Field      string
	Descending bool
}

// maxLength bounds a filter.
const maxLength = 4096

// ErrSyntax says that a filter cannot be understood.
var ErrSyntax = errors.New("malformed query")

// Parse reads a filter. Clients encode it once more than the URL needs, so it is decoded once more; what does not decode is taken
// as it is. The error wraps [ErrSyntax] and names the term.
func Parse(text string) ([]Term, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrSyntax, maxLength)
	}
	if decoded, err := url.QueryUnescape(text); err == nil && strings.ContainsRune(text, '%') {
		text = decoded
	}
	var terms []Term
	for _, part := range split(text) {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, found := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); !found || name == "" {
			return nil, fmt.Errorf("%w: %q is not of the form field=value", ErrSyntax, part)
		}
		term, err := parseValue(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrSyntax, part, err)
		}
		term.Field = Field(name)
		terms = append(terms, term)
	}
	return terms, nil
}

// split cuts at the commas that are outside of quotes and brackets.
func split(text string) []string {
	var parts []string
	depth, quoted, begin := 0, false, 0
	for i, c := range text {
		switch {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case strings.ContainsRune("[{(", c):
			depth++
		case strings.ContainsRune("]})", c):
			depth = max(0, depth-1)
		case c == ',' && depth == 0:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

func parseValue(text string) (Term, error) {
	if rest, escaped := strings.CutPrefix(text, `\`); escaped {
		return Term{Form: Exact, Values: []any{rest}}, nil
	}
	if rest, fuzzy := strings.CutPrefix(text, "~"); fuzzy {
		return Term{Form: Fuzzy, Values: []any{rest}}, nil
	}
	if text == "" {
		return Term{Form: Exact, Values: []any{""}}, nil
	}
	switch open := text[0]; open {
	case '[':
		inside, err := enclosed(text, ']')
		if err != nil {
			return Term{}, err
		}
		low, high, found := strings.Cut(inside, "~")
		if !found {
			return Term{}, errors.New("a range has ~ between its ends")
		}
		return Term{Form: Range, Values: []any{literal(low), literal(high)}}, nil
	case '{', '(':
		form, closing := Union, byte('}')
		if open == '(' {
			form, closing = Intersection, ')'
		}
		inside, err := enclosed(text, closing)
		if err != nil {
			return Term{}, err
		}
		return Term{Form: form, Values: literals(inside)}, nil
	}
	return Term{Form: Exact, Values: []any{text}}, nil
}

func enclosed(text string, closing byte) (string, error) {
	if len(text) < 2 || text[len(text)-1] != closing {
		return "", fmt.Errorf("%c is missing at the end", closing)
	}
	return text[1 : len(text)-1], nil
}

// literals reads values with spaces between them; quoted ones may have spaces in them.
func literals(text string) []any {
	var values []any
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		end := strings.IndexByte(text, ' ')
		if text[0] == '\'' {
			if closing := strings.IndexByte(text[1:], '\''); closing >= 0 {
				end = closing + 2
			}
		}
		if end < 0 {
			end = len(text)
		}
		values = append(values, literal(text[:end]))
		text = text[end:]
	}
	return values
}

// literal reads a time, a whole number or a text with or without quotes; nil when there is nothing.
func literal(text string) any {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	if moment, err := time.Parse("2006-01-02T15:04:05", text); err == nil {
		return moment.UTC()
	}
	if number, err := strconv.ParseInt(text, 10, 64); err == nil {
		return number
	}
	if len(text) > 1 && text[0] == '\'' && text[len(text)-1] == '\'' {
		return text[1 : len(text)-1]
	}
	return text
}

// ParseSort reads an order: fields with commas between them, a minus in front of those that descend.
func ParseSort(text string) []Sort {
	var sorts []Sort
	for part := range strings.SplitSeq(text, ",") {
		name, descending := strings.CutPrefix(strings.TrimSpace(part), "-")
		if name != "" {
			sorts = append(sorts, Sort{Field: Field(name), Descending: descending})
		}
	}
	return sorts
}

// Field returns a field's name in snake case: clients write "ProjectID" and "project_id" alike.
func Field(name string) string {
	var b strings.Builder
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			previousLower := i > 0 && name[i-1] != '_' && (name[i-1] < 'A' || name[i-1] > 'Z')
			nextLower := i > 0 && i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z' && name[i-1] != '_'
			if previousLower || nextLower {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}
