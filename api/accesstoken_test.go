package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
)

type madeToken struct {
	ID         int64    `json:"id"`
	Secret     string   `json:"secret"`
	Name       string   `json:"name"`
	Scopes     []string `json:"scopes"`
	ExpiresAt  int64    `json:"expires_at"`
	LastUsedAt *string  `json:"last_used_at"`
}

const ownTokens = "/users/current/tokens"

func addToken(t *testing.T, c *apitest.Client, name string, projects []string, scopes ...string) madeToken {
	t.Helper()
	var made madeToken
	answer := c.Must(t, http.StatusCreated, http.MethodPost, ownTokens, map[string]any{"name": name, "scopes": scopes, "projects": projects, "duration": 30})
	answer.JSON(t, &made)
	require.Equal(t, fmt.Sprintf("/api/v2.0/users/current/tokens/%d", made.ID), answer.Header.Get("Location"))
	return made
}

func TestAccessTokens_life(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, s *apitest.Server) {
		addPerson(t, s, "eve")
		eve := s.As("eve", apitest.AdminPassword)
		token := addToken(t, eve, "laptop", nil, "pull", "read")
		require.Regexp(t, `^berth_pat_[0-9A-Za-z]{36}$`, token.Secret)
		require.InDelta(t, time.Now().Add(30*24*time.Hour).Unix(), token.ExpiresAt, 60)
		eve.Must(t, http.StatusConflict, http.MethodPost, ownTokens, map[string]any{"name": "laptop", "scopes": []string{"pull"}})

		limited := s.As("eve", token.Secret)
		limited.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
		limited.Must(t, http.StatusForbidden, http.MethodPost, ownTokens, map[string]any{"name": "more", "scopes": []string{"all"}})
		require.NoError(t, s.AccessTokens.Flush(t.Context()))
		var list []madeToken
		answer := limited.Must(t, http.StatusOK, http.MethodGet, ownTokens, nil)
		answer.JSON(t, &list)
		require.Len(t, list, 1)
		require.Equal(t, []string{"pull", "read"}, list[0].Scopes)
		require.NotNil(t, list[0].LastUsedAt)
		require.NotContains(t, answer.Body, token.Secret)

		for name, secret := range map[string]string{
			"admin": token.Secret, "EVE": token.Secret, "nobody": token.Secret,
			"eve": token.Secret[:len(token.Secret)-1] + "_",
		} {
			require.Equal(t, http.StatusUnauthorized, s.As(name, secret).Do(t, http.MethodGet, "/users/current", nil).Status, name)
		}

		// A token outlives the password, and ends with its revocation, its user's or theirs being shut out.
		user, err := s.Store.UserByName(t.Context(), "eve")
		require.NoError(t, err)
		admin := s.Admin()
		admin.Must(t, http.StatusOK, http.MethodPut, fmt.Sprintf("/users/%d/password", user.ID), map[string]string{"new_password": "Another-horse2"})
		limited.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
		admin.Must(t, http.StatusOK, http.MethodPut, fmt.Sprintf("/users/%d/disabled", user.ID), map[string]bool{"disabled": true})
		limited.Must(t, http.StatusUnauthorized, http.MethodGet, "/users/current", nil)
		admin.Must(t, http.StatusOK, http.MethodPut, fmt.Sprintf("/users/%d/disabled", user.ID), map[string]bool{"disabled": false})
		limited.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)

		ofEve := fmt.Sprintf("/users/%d/tokens", user.ID)
		admin.Must(t, http.StatusOK, http.MethodGet, ofEve, nil).JSON(t, &list)
		require.Len(t, list, 1)
		admin.Must(t, http.StatusNotFound, http.MethodDelete, fmt.Sprintf("%s/%d", ownTokens, token.ID), nil)
		admin.Must(t, http.StatusOK, http.MethodDelete, fmt.Sprintf("%s/%d", ofEve, token.ID), nil)
		limited.Must(t, http.StatusUnauthorized, http.MethodGet, "/users/current", nil)
		admin.Must(t, http.StatusNotFound, http.MethodDelete, fmt.Sprintf("%s/%d", ofEve, token.ID), nil)

		var kinds []event.Kind
		events, err := s.Store.Events(t.Context(), metadata.EventCursor{}, -1)
		require.NoError(t, err)
		for _, e := range events {
			if e.Subject == "eve/laptop" {
				kinds = append(kinds, e.Kind)
			}
		}
		require.Equal(t, []event.Kind{event.AccessTokenCreated, event.AccessTokenRevoked}, kinds)
	})
}

func TestAccessTokens_whoMay(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	withTeam(t, s)
	boss, dev := s.As("boss", apitest.AdminPassword), s.As("dev", apitest.AdminPassword)
	token := addToken(t, boss, "a", nil, "all")
	user, err := s.Store.UserByName(t.Context(), "boss")
	require.NoError(t, err)
	ofBoss := fmt.Sprintf("/users/%d/tokens", user.ID)
	boss.Must(t, http.StatusOK, http.MethodGet, ofBoss, nil)
	dev.Must(t, http.StatusForbidden, http.MethodGet, ofBoss, nil)
	dev.Must(t, http.StatusForbidden, http.MethodDelete, fmt.Sprintf("%s/%d", ofBoss, token.ID), nil)
	dev.Must(t, http.StatusNotFound, http.MethodDelete, fmt.Sprintf("%s/%d", ownTokens, token.ID), nil)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		require.Equal(t, http.StatusUnauthorized, s.Anonymous().Do(t, method, ownTokens, map[string]any{"name": "a"}).Status)
	}
	robot := addRobot(t, s.Admin(), robotBody("ci", "system", "* repository:pull", "/ user:create,read,update,delete,list"))
	asRobot := s.As(robot.Name, robot.Secret)
	asRobot.Must(t, http.StatusForbidden, http.MethodGet, ownTokens, nil)
	asRobot.Must(t, http.StatusForbidden, http.MethodPost, ownTokens, map[string]any{"name": "a", "scopes": []string{"all"}})
	asRobot.Must(t, http.StatusForbidden, http.MethodGet, ofBoss, nil)

	// With all scopes a token does what its user does; within projects, nothing outside.
	all := s.As("boss", token.Secret)
	addToken(t, all, "b", nil, "pull")
	addRobot(t, all, robotBody("by-token", "project", "team repository:pull"))
	narrow := s.As("boss", addToken(t, boss, "c", []string{"team"}, "all").Secret)
	narrow.Must(t, http.StatusForbidden, http.MethodPost, ownTokens, map[string]any{"name": "d", "scopes": []string{"all"}})
	narrow.Must(t, http.StatusForbidden, http.MethodGet, "/users/current", nil)
	narrow.Must(t, http.StatusOK, http.MethodGet, "/projects/team", nil)
	other := s.As("boss", addToken(t, boss, "d", []string{"library"}, "all").Secret)
	other.Must(t, http.StatusForbidden, http.MethodGet, "/projects/team", nil)
	var projects []map[string]any
	other.Must(t, http.StatusOK, http.MethodGet, "/projects", nil).JSON(t, &projects)
	require.Len(t, projects, 1, "what everybody sees")
	narrow.Must(t, http.StatusOK, http.MethodGet, "/projects", nil).JSON(t, &projects)
	require.Len(t, projects, 2)

	// Not even an administrator's token goes beyond its limits.
	reads := s.As("admin", addToken(t, s.Admin(), "reads", nil, "read").Secret)
	reads.Must(t, http.StatusOK, http.MethodGet, "/configurations", nil)
	reads.Must(t, http.StatusForbidden, http.MethodPut, "/configurations", map[string]any{"read_only": true})
	reads.Must(t, http.StatusForbidden, http.MethodPost, "/robots", robotBody("no", "system", "* repository:pull"))
	writes := s.As("admin", addToken(t, s.Admin(), "writes", nil, "write").Secret)
	writes.Must(t, http.StatusForbidden, http.MethodPut, fmt.Sprintf("/users/%d/password", user.ID), map[string]string{"new_password": "Another-horse2"})
	writes.Must(t, http.StatusForbidden, http.MethodPut, fmt.Sprintf("/users/%d/sysadmin", user.ID), map[string]bool{"sysadmin_flag": true})
}

// A session has no limits, so that a token must not begin one, nor stand in for the old password.
func TestAccessTokens_areNoPasswords(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	addPerson(t, s, "eve")
	eve := s.As("eve", apitest.AdminPassword)
	token := addToken(t, eve, "laptop", nil, "all")
	_, err := s.Sessions.Login(t.Context(), event.Actor{}, identity.Credentials{Name: "eve", Secret: token.Secret}, "")
	require.ErrorIs(t, err, identity.ErrCredentials)
	user, err := s.Store.UserByName(t.Context(), "eve")
	require.NoError(t, err)
	eve.Must(t, http.StatusForbidden, http.MethodPut, fmt.Sprintf("/users/%d/password", user.ID),
		map[string]string{"old_password": token.Secret, "new_password": "Another-horse2"})
}

func TestAccessTokens_refused(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	admin := s.Admin()
	for _, body := range []any{
		map[string]any{},
		map[string]any{"name": "", "scopes": []string{"pull"}},
		map[string]any{"name": "a"},
		map[string]any{"name": "a", "scopes": []string{"invented"}},
		map[string]any{"name": "a\nb", "scopes": []string{"pull"}},
		map[string]any{"name": strings.Repeat("a", 129), "scopes": []string{"pull"}},
		map[string]any{"name": "a", "scopes": []string{"pull"}, "duration": -1},
		map[string]any{"name": "a", "scopes": []string{"pull"}, "duration": 366},
		map[string]any{"name": "a", "scopes": []string{"pull"}, "projects": []string{""}},
		map[string]any{"name": "a", "scopes": []string{"pull"}, "projects": make([]string, 51)},
		map[string]any{"name": "a", "scopes": []string{"pull", "pull", "pull", "pull", "pull", "pull", "pull"}},
	} {
		admin.Must(t, http.StatusBadRequest, http.MethodPost, ownTokens, body)
	}
	for i := range 100 {
		addToken(t, admin, fmt.Sprint(i), nil, "pull")
	}
	admin.Must(t, http.StatusBadRequest, http.MethodPost, ownTokens, map[string]any{"name": "more", "scopes": []string{"pull"}})
	admin.Must(t, http.StatusNotFound, http.MethodGet, "/users/4711/tokens", nil)
	admin.Must(t, http.StatusUnprocessableEntity, http.MethodDelete, ownTokens+"/one", nil)
}

func TestCLISecret(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, s *apitest.Server) {
		var olga metadata.User
		s.Write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			olga, err = tx.CreateUser(ctx, metadata.User{Name: "olga", Source: "oidc", ExternalID: "olga@idp"})
			return err
		})
		addPerson(t, s, "eve")
		eve, err := s.Store.UserByName(t.Context(), "eve")
		require.NoError(t, err)
		path := fmt.Sprintf("/users/%d/cli_secret", olga.ID)
		admin, secret := s.Admin(), map[string]string{"secret": "Command-line1"}
		s.As("eve", apitest.AdminPassword).Must(t, http.StatusForbidden, http.MethodPut, path, secret)
		s.As("eve", apitest.AdminPassword).Must(t, http.StatusPreconditionFailed, http.MethodPut, fmt.Sprintf("/users/%d/cli_secret", eve.ID), secret)
		admin.Must(t, http.StatusBadRequest, http.MethodPut, path, map[string]string{"secret": "simple"})
		admin.Must(t, http.StatusNotFound, http.MethodPut, "/users/4711/cli_secret", secret)
		s.As("olga", "Command-line1").Must(t, http.StatusUnauthorized, http.MethodGet, "/users/current", nil)

		admin.Must(t, http.StatusOK, http.MethodPut, path, secret)
		first := s.As("olga", "Command-line1")
		first.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
		first.Must(t, http.StatusForbidden, http.MethodPost, ownTokens, map[string]any{"name": "more", "scopes": []string{"all"}})
		admin.Must(t, http.StatusOK, http.MethodPut, path, map[string]string{"secret": "Command-line2"})
		first.Must(t, http.StatusUnauthorized, http.MethodGet, "/users/current", nil)
		s.As("olga", "Command-line2").Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
		s.As("olga", "wrong").Must(t, http.StatusUnauthorized, http.MethodGet, "/users/current", nil)
		require.Equal(t, "0", admin.Must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/users/%d/tokens", olga.ID), nil).Header.Get("X-Total-Count"))
	})
}
