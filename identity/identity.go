// Package identity says who is calling: principals, and the sources that prove them.
package identity

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind is the kind of principal.
type Kind string

// The kinds of principal.
const (
	KindAnonymous Kind = "anonymous"
	KindUser      Kind = "user"
	// KindRobot is an account of a program, which holds permissions of its own and no roles.
	KindRobot Kind = "robot"
	// KindOperator is whoever commands the machine that the registry runs on, and so needs no account in it.
	KindOperator Kind = "operator"
)

// Principal is who is calling.
type Principal struct {
	Kind Kind
	// ID is that of the user or of the robot, 0 for the anonymous principal; see [Principal.UserID].
	ID   int64
	Name string
	// SystemAdmin is never set on who is limited, so that who asks for it alone does not overlook the limits.
	SystemAdmin bool
	// CredentialVersion is that of the row that proved the principal when it did: the user's, the robot's or the access token's.
	CredentialVersion int64
	// TokenID is the access token that stood in for the user's password, 0 for none.
	TokenID int64
	// Limits are what the access token leaves of what its user may do; nil leaves everything. [Accounts.Check] sets them.
	Limits *Limits
	// Permissions are what a robot may do, nil for everybody else. [Accounts.Check] sets them.
	Permissions *Permissions
}

// UserID returns the id of the user, 0 for a robot and for the anonymous principal: who looks for rows of users by an id must not
// take a robot's for one.
func (p Principal) UserID() int64 {
	if p.Kind == KindUser {
		return p.ID
	}
	return 0
}

// Anonymous is the caller who proved nothing.
var Anonymous = Principal{Kind: KindAnonymous, Name: "anonymous"}

// Operator is the operator of the machine, through Berth's own commands.
var Operator = Principal{Kind: KindOperator, Name: "berth command", SystemAdmin: true}

// Source proves principals by name and password.
type Source interface {
	// Authenticate returns the principal. It returns [ErrUnknown] when the name is not of this source, so that the next one is
	// asked; [ErrCredentials] when the secret is wrong or the account disabled; a [*ThrottledError] when there were too many
	// failures; any other error when the source cannot tell.
	Authenticate(ctx context.Context, credentials Credentials) (Principal, error)
}

// TokenSource proves principals by a token that somebody else has signed.
type TokenSource interface {
	// AuthenticateToken returns the principal. It returns [ErrUnknown] when the token is not of this source, or nobody's here;
	// [ErrCredentials] when it does not hold; any other error when the source cannot tell.
	AuthenticateToken(ctx context.Context, token string) (Principal, error)
}

// Credentials are what a caller offers.
type Credentials struct {
	Name   string
	Secret string
	// Address is the client's network address, for throttling.
	Address string
	// Session says that a session begins with them, which tells of itself.
	Session bool
}

// ErrUnknown says that the name is not of this source.
var ErrUnknown = errors.New("unknown principal")

// ErrCredentials says that the name or the secret is wrong; which of the two is not told.
var ErrCredentials = errors.New("wrong user name or password")

// ThrottledError refuses to check credentials at all for a while.
type ThrottledError struct {
	RetryAfter time.Duration
}

// Error says how long to wait.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many failed logins: try again in %s", e.RetryAfter.Round(time.Second))
}
