package api

import (
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) accessTokenRoutes() []Route {
	const own, ofUser = "/users/current/tokens", "/users/{user_id}/tokens"
	return []Route{
		define(Route{
			ID: "listCurrentUserTokens", Tag: "user", Method: http.MethodGet, Path: own, Summary: "Lists the caller's personal access tokens",
			Permission: onRow("access-token", policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.listOwnTokens),
		define(Route{
			ID: "createCurrentUserToken", Tag: "user", Method: http.MethodPost, Path: own,
			Summary:    "Makes a personal access token; its secret is in the answer and can be had at no other time",
			Permission: onRow("access-token", policy.Create), Statuses: []int{400, 401, 403, 409, 500},
		}, a.createOwnToken),
		define(Route{
			ID: "revokeCurrentUserToken", Tag: "user", Method: http.MethodDelete, Path: own + "/{token_id}",
			Summary: "Revokes one of the caller's personal access tokens", Permission: onRow("access-token", policy.Delete), Statuses: []int{401, 403, 404, 422, 500},
		}, a.revokeOwnToken),
		define(Route{
			ID: "listUserTokens", Tag: "user", Method: http.MethodGet, Path: ofUser, Summary: "Lists a user's personal access tokens",
			Permission: onRow("access-token", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listUserTokens),
		define(Route{
			ID: "revokeUserToken", Tag: "user", Method: http.MethodDelete, Path: ofUser + "/{token_id}",
			Summary: "Revokes one of a user's personal access tokens", Permission: onRow("access-token", policy.Delete), Statuses: []int{401, 403, 404, 422, 500},
		}, a.revokeUserToken),
		define(Route{
			ID: "setCliSecret", Tag: "user", Method: http.MethodPut, Path: "/users/{user_id}/cli_secret",
			Summary:    "Gives a user of an OpenID provider a secret for command lines",
			Permission: onRow("access-token", policy.Update), Statuses: []int{400, 401, 403, 404, 412, 422, 500},
		}, a.setCLISecret),
	}
}

// AccessToken is a personal access token as clients read it; what is embedded in answers has to be exported to be described.
type AccessToken struct {
	ID         int64    `json:"id"`
	Name       string   `json:"name"`
	Scopes     []string `json:"scopes" doc:"pull, push, delete, read, write, all"`
	Projects   []string `json:"projects" doc:"names of the projects that it is good in; none means all"`
	CreatedAt  Time     `json:"creation_time"`
	ExpiresAt  int64    `json:"expires_at" doc:"in seconds since 1970"`
	LastUsedAt *Time    `json:"last_used_at" doc:"exact to about a minute; null when it was never used"`
}

func viewAccessToken(t metadata.AccessToken) AccessToken {
	return AccessToken{
		ID: t.ID, Name: t.Name, Scopes: t.Scopes, Projects: t.Projects, CreatedAt: Time(t.CreatedAt), ExpiresAt: expiry(t.ExpiresAt),
		LastUsedAt: moment(t.LastUsedAt),
	}
}

// ownTokens asks for the permission on the caller's own tokens.
func (c *Call) ownTokens(action policy.Action) error {
	return c.Authorize(action, policy.Resource{Kind: "access-token", Owner: c.Principal.UserID()})
}

func (a *API) listOwnTokens(c *Call, in struct{ Paging }) (Page[AccessToken], error) {
	if err := c.ownTokens(policy.List); err != nil {
		return Page[AccessToken]{}, err
	}
	return a.pageOfTokens(c, in.Paging, c.Principal.UserID())
}

func (a *API) pageOfTokens(c *Call, paging Paging, userID int64) (Page[AccessToken], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[AccessToken]{}, err
	}
	rows, total, err := a.options.Store.ListAccessTokens(c.Context(), userID, q)
	return NewPage(paging, rows, total, viewAccessToken), err
}

// newAccessToken is the body of createCurrentUserToken.
type newAccessToken struct {
	Name     string   `json:"name"`
	Scopes   []string `json:"scopes" doc:"pull, push, delete, read, write, all"`
	Projects []string `json:"projects,omitempty" doc:"names of the projects that it is good in; none means all"`
	Duration int64    `json:"duration,omitempty" doc:"in days"`
}

// madeAccessToken is a new token with its secret.
type madeAccessToken struct {
	AccessToken
	Secret string `json:"secret"`
}

func (a *API) createOwnToken(c *Call, in struct {
	Token newAccessToken `body:""`
},
) (CreatedAs[madeAccessToken], error) {
	if err := c.ownTokens(policy.Create); err != nil {
		return CreatedAs[madeAccessToken]{}, err
	}
	if c.Principal.UserID() == 0 { // a command on the machine itself
		return CreatedAs[madeAccessToken]{}, fault.New(fault.Invalid, "access tokens are those of people: log in as the one whose it shall be")
	}
	made, secret, err := a.options.AccessTokens.Create(c.Context(), c.actor(), c.Principal.UserID(), personal.NewToken{
		Name: in.Token.Name, Scopes: in.Token.Scopes, Projects: in.Token.Projects, Days: in.Token.Duration,
	})
	if err != nil {
		return CreatedAs[madeAccessToken]{}, err
	}
	return CreatedAs[madeAccessToken]{
		Created: Created{Location: Prefix + "/users/current/tokens/" + strconv.FormatInt(made.ID, 10)},
		Body:    madeAccessToken{viewAccessToken(made), secret},
	}, nil
}

// accessTokenPath names a token.
type accessTokenPath struct {
	TokenID int64 `path:"token_id"`
}

func (a *API) revokeOwnToken(c *Call, in accessTokenPath) (None, error) {
	if err := c.ownTokens(policy.Delete); err != nil {
		return None{}, err
	}
	return None{}, a.options.AccessTokens.Revoke(c.Context(), c.actor(), c.Principal.UserID(), in.TokenID)
}

// owner returns the user of the path, for those who may do the action to that user's tokens.
func (p userPath) owner(c *Call, action policy.Action) (metadata.User, error) {
	if err := c.Authorize(action, policy.Resource{Kind: "access-token", Owner: p.ID}); err != nil {
		return metadata.User{}, err
	}
	row, err := c.api.options.Store.UserByID(c.Context(), p.ID)
	return row, p.missing(err)
}

func (a *API) listUserTokens(c *Call, in struct {
	Paging
	userPath
},
) (Page[AccessToken], error) {
	user, err := in.owner(c, policy.List)
	if err != nil {
		return Page[AccessToken]{}, err
	}
	return a.pageOfTokens(c, in.Paging, user.ID)
}

func (a *API) revokeUserToken(c *Call, in struct {
	userPath
	accessTokenPath
},
) (None, error) {
	user, err := in.owner(c, policy.Delete)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.AccessTokens.Revoke(c.Context(), c.actor(), user.ID, in.TokenID)
}

// cliSecret is the body of setCliSecret.
type cliSecret struct {
	Secret string `json:"secret"`
}

func (a *API) setCLISecret(c *Call, in struct {
	userPath
	Secret cliSecret `body:""`
},
) (None, error) {
	user, err := in.owner(c, policy.Update)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.AccessTokens.SetCLISecret(c.Context(), c.actor(), user, in.Secret.Secret)
}
