// Package token is what the token service hands out: scopes, claims, their signing and verification, and the challenge that
// sends a client there (the "Token Authentication Specification" of the distribution project).
package token

import (
	"slices"
	"strings"
)

// The types of resource that a scope can name.
const (
	TypeRepository = "repository"
	TypeRegistry   = "registry"
)

// The actions that a scope can ask for. [ActionAll] is every action that the caller may do.
const (
	ActionPull   = "pull"
	ActionPush   = "push"
	ActionDelete = "delete"
	ActionAll    = "*"
)

// Catalog is the name of the only resource of [TypeRegistry].
const Catalog = "catalog"

// maxResourceName bounds the names that are kept: longer than any repository with a host before it.
const maxResourceName = 512

// Scope is a resource and what is asked to be done to it.
type Scope struct {
	Type    string
	Name    string
	Actions []string
}

// RepositoryScope asks for actions on a repository.
func RepositoryScope(repository string, actions ...string) Scope {
	return Scope{Type: TypeRepository, Name: repository, Actions: actions}
}

// CatalogScope asks for the list of repositories.
func CatalogScope() Scope {
	return Scope{Type: TypeRegistry, Name: Catalog, Actions: []string{ActionAll}}
}

// String returns the scope as it stands in a challenge: "repository:library/app:pull,push".
func (s Scope) String() string {
	return s.Type + ":" + s.Name + ":" + strings.Join(s.Actions, ",")
}

// FormatScopes joins scopes with spaces.
func FormatScopes(scopes []Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = s.String()
	}
	return strings.Join(words, " ")
}

// ParseScopes reads the values of "scope" parameters, each of which may hold several scopes separated by spaces. Scopes of
// one resource are merged, their actions in the order pull, push, delete, *. What is not understood is left out, as the
// specification asks: clients ask for more than a registry may know.
func ParseScopes(values []string) []Scope {
	var scopes []Scope
	index := map[[2]string]int{}
	for _, value := range values {
		for word := range strings.FieldsSeq(value) {
			scope, ok := parseScope(word)
			if !ok {
				continue
			}
			key := [2]string{scope.Type, scope.Name}
			if i, seen := index[key]; seen {
				scopes[i].Actions = mergeActions(scopes[i].Actions, scope.Actions)
				continue
			}
			index[key] = len(scopes)
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// parseScope splits on the first and the last colon, because a repository's name may begin with "host:port/".
func parseScope(word string) (Scope, bool) {
	kind, rest, found := strings.Cut(word, ":")
	last := strings.LastIndexByte(rest, ':')
	if !found || last <= 0 || last > maxResourceName {
		return Scope{}, false
	}
	name := rest[:last]
	switch {
	case kind == TypeRepository && printable(name):
	case kind == TypeRegistry && name == Catalog:
	default:
		return Scope{}, false
	}
	var asked []string
	for action := range strings.SplitSeq(rest[last+1:], ",") {
		asked = append(asked, action)
	}
	actions := mergeActions(nil, asked)
	return Scope{Type: kind, Name: name, Actions: actions}, len(actions) > 0
}

// mergeActions returns the known actions of both, each once and in one order.
func mergeActions(a, b []string) []string {
	var merged []string
	for _, action := range []string{ActionPull, ActionPush, ActionDelete, ActionAll} {
		if slices.Contains(a, action) || slices.Contains(b, action) {
			merged = append(merged, action)
		}
	}
	return merged
}

// printable keeps out what could break a header, a log line or a JSON text that echoes the name.
func printable(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == ',' {
			return false
		}
	}
	return true
}
