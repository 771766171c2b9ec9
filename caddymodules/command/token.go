package command

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// token is a personal access token as the API returns it; the secret is in the answer that makes it, and nowhere else.
type token struct {
	ID         int64     `json:"id"`
	Name       string    `json:"name"`
	Scopes     []string  `json:"scopes"`
	Projects   []string  `json:"projects"`
	Secret     string    `json:"secret,omitempty"`
	ExpiresAt  int64     `json:"expires_at"`
	LastUsedAt time.Time `json:"last_used_at"`
}

// newToken is what makes a token; the duration is in days.
type newToken struct {
	Name     string   `json:"name"`
	Scopes   []string `json:"scopes"`
	Projects []string `json:"projects,omitempty"`
	Duration int64    `json:"duration"`
}

const tokensPath = "/users/current/tokens" //nolint:gosec // a path

func tokenCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	made := do(command, local, "create <name>", "Makes a personal access token and prints it; it is told this once only", func(c *call) error {
		body := newToken{Name: c.arguments[0]}
		var err error
		if body.Scopes, err = c.Flags().GetStringSlice("scope"); err != nil {
			return err
		}
		if body.Projects, err = c.Flags().GetStringSlice("project"); err != nil {
			return err
		}
		if body.Duration, err = c.Flags().GetInt64("days"); err != nil {
			return err
		}
		made, err := create[token](c.Context(), c.API, tokensPath, body)
		if err != nil {
			return err
		}
		return report(c, made, "Made the token %s, good until %s. It is told this once only; use it in the place of your password:\n%s",
			made.Name, expiry(made.ExpiresAt), made.Secret)
	})
	made.Flags().StringSlice("scope", []string{"pull", "push"}, "what it may do")
	made.Flags().StringSlice("project", nil, "in which projects alone (default: all)")
	made.Flags().Int64("days", 90, "for how many days it is good")

	do(command, local, "list", "Lists your personal access tokens", func(c *call) error {
		tokens, err := list[token](c.Context(), c.API, tokensPath, nil, 0)
		if err != nil {
			return err
		}
		return printList(c, tokens,
			column[token]{"NAME", func(t token) any { return t.Name }},
			column[token]{"SCOPES", func(t token) any { return fmt.Sprint(t.Scopes) }},
			column[token]{"EXPIRES", func(t token) any { return expiry(t.ExpiresAt) }},
			column[token]{"LAST USED", func(t token) any { return lastUse(t.LastUsedAt) }})
	})
	do(command, local, "revoke <name>", "Revokes one of your personal access tokens", func(c *call) error {
		tokens, err := list[token](c.Context(), c.API, tokensPath, nil, 0)
		if err != nil {
			return err
		}
		for _, t := range tokens {
			if t.Name != c.arguments[0] {
				continue
			}
			if _, err := c.change(c.Context(), http.MethodDelete, tokensPath+at(strconv.FormatInt(t.ID, 10)), nil); err != nil {
				return err
			}
			return report(c, nil, "Revoked the token %s.", t.Name)
		}
		return &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("you have no token %q", c.arguments[0])}
	})
}

func lastUse(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Format(timeLayout)
}
