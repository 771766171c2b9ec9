package identity

import (
	"encoding/base64"
	"errors"
	"strings"
)

// ErrAuthorization says that an Authorization header cannot be understood.
var ErrAuthorization = errors.New("malformed Authorization header")

// Authorization is what a request's Authorization header offers; its zero value offers nothing.
type Authorization struct {
	// Bearer is a token (RFC 6750), "" for none.
	Bearer string
	// Basic tells that there is a name and password (RFC 7617).
	Basic          bool
	Name, Password string
}

// ParseAuthorization reads the values of the Authorization header. It returns [ErrAuthorization] for what is neither Basic nor
// Bearer, and for more than one: which of them counts would be for this server and a proxy before it to disagree about.
func ParseAuthorization(values []string) (Authorization, error) {
	if len(values) == 0 {
		return Authorization{}, nil
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	rest = strings.TrimSpace(rest)
	if len(values) > 1 || rest == "" {
		return Authorization{}, ErrAuthorization
	}
	switch {
	case strings.EqualFold(scheme, "bearer"):
		return Authorization{Bearer: rest}, nil
	case strings.EqualFold(scheme, "basic"):
		decoded, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return Authorization{}, ErrAuthorization
		}
		name, password, found := strings.Cut(string(decoded), ":")
		if !found {
			return Authorization{}, ErrAuthorization
		}
		return Authorization{Basic: true, Name: name, Password: password}, nil
	}
	return Authorization{}, ErrAuthorization
}
