package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// loginDays is how long a login lasts.
const loginDays = 30

func loginCommand(command *cobra.Command, _ Local) {
	command.Use = "login <server>"
	command.Long = `Logs in to a registry and keeps a personal access token for it, in a file that only you may read; the password is not kept. The
secret of a robot account, or a token that may not make tokens, is kept as it is. With BERTH_USERNAME and BERTH_PASSWORD set, the
other commands need no login.`
	flags := command.Flags()
	flags.StringP("username", "u", "", "who logs in (default: asked for)")
	flags.String("ca", "", "file with the authority of the server's certificate, where this machine does not trust it")
	flags.StringP("output", "o", "table", "how to print: table or json")
	command.Args = cobra.ArbitraryArgs
	command.RunE = func(command *cobra.Command, arguments []string) error {
		command.SilenceUsage = true
		return exit(command, func() error {
			if len(arguments) != 1 {
				return usageError("usage: %s", command.UseLine())
			}
			return logIn(command, arguments[0])
		})
	}
}

func logIn(command *cobra.Command, address string) error {
	base, err := serverAddress(address)
	if err != nil {
		return err
	}
	given := login{Username: command.Flags().Lookup("username").Value.String(), CA: command.Flags().Lookup("ca").Value.String()}
	if given.CA != "" {
		if given.CA, err = filepath.Abs(given.CA); err != nil {
			return err
		}
	}
	if given.Username == "" {
		if given.Username, err = ask(command, "Username: "); err != nil {
			return err
		}
	}
	if given.Secret, err = readPassword(command, false); err != nil {
		return err
	}
	kept, err := readLogins()
	if err != nil {
		return err
	}
	connected, err := reach(base, given)
	if err != nil {
		return err
	}
	token, err := proveAndMakeToken(command.Context(), connected)
	if err != nil {
		return err
	}
	if token.Secret != "" {
		given.Secret, given.Token = token.Secret, token.ID
	}
	before := kept.Servers[base]
	before.CA = given.CA // the file that it names may be gone
	kept.Servers[base], kept.Current = given, base
	if err := kept.write(); err != nil {
		return err
	}
	if err := revoke(command.Context(), base, before); err != nil {
		return err
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "Logged in to %s as %s.\n", base, given.Username)
	return err
}

// proveAndMakeToken proves the credentials and makes a token to keep in their place; none where they may make none, as those of
// robot accounts.
func proveAndMakeToken(ctx context.Context, connected *API) (token, error) {
	_, err := get[user](ctx, connected, "/users/current", nil)
	if refused, ok := errors.AsType[*Refusal](err); ok && refused.Status == http.StatusPreconditionFailed {
		return token{}, nil // a robot account
	}
	if refused, ok := errors.AsType[*Refusal](err); ok && refused.Status == http.StatusUnauthorized {
		return token{}, &Refusal{Status: refused.Status, Message: "wrong user name or password"}
	}
	if err != nil {
		return token{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a machine without a name"
	}
	made, err := create[token](ctx, connected, "/users/current/tokens", newToken{
		Name: fmt.Sprintf("berth login on %s, %s", host, time.Now().UTC().Format(time.RFC3339Nano)), Scopes: []string{"all"}, Duration: loginDays,
	})
	if statusOf(err) == exitDenied {
		return token{}, nil
	}
	return made, err
}

func ask(command *cobra.Command, question string) (string, error) {
	_, _ = fmt.Fprint(command.ErrOrStderr(), question)
	// Byte by byte, so that what follows the line is left for whoever reads the password.
	line, err := bufio.NewReaderSize(io.LimitReader(oneByte{command.InOrStdin()}, maxLine), 16).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read user name: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usageError("no user name on standard input: give it with --username")
	}
	return line, nil
}

// oneByte reads a byte at a time.
type oneByte struct{ io.Reader }

// Read reads one byte.
func (r oneByte) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return r.Reader.Read(p)
}

func logoutCommand(command *cobra.Command, _ Local) {
	command.Use = "logout [server]"
	command.Args = cobra.ArbitraryArgs
	command.RunE = func(command *cobra.Command, arguments []string) error {
		command.SilenceUsage = true
		return exit(command, func() error {
			if len(arguments) > 1 {
				return usageError("usage: %s", command.UseLine())
			}
			return logOut(command, strings.Join(arguments, ""))
		})
	}
}

func logOut(command *cobra.Command, address string) error {
	kept, err := readLogins()
	if err != nil {
		return err
	}
	base := kept.Current
	if address != "" {
		if base, err = serverAddress(address); err != nil {
			return err
		}
	}
	if base == "" {
		return usageError("not logged in")
	}
	known, found := kept.Servers[base]
	if !found {
		return usageError("not logged in to %s", base)
	}
	delete(kept.Servers, base)
	if kept.Current == base {
		kept.Current = ""
	}
	if err := kept.write(); err != nil {
		return err
	}
	if err := revoke(command.Context(), base, known); err != nil {
		return err
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "Logged out of %s.\n", base)
	return err
}

// revoke has the registry forget the token of a login that is forgotten here.
func revoke(ctx context.Context, base string, forgotten login) error {
	if forgotten.Token == 0 {
		return nil
	}
	connected, err := reach(base, forgotten)
	if err != nil {
		return err
	}
	_, err = connected.change(ctx, http.MethodDelete, at("users", "current", "tokens", strconv.FormatInt(forgotten.Token, 10)), nil)
	if status := statusOf(err); err != nil && status != exitNotFound && status != exitDenied {
		return fmt.Errorf("forgot a login, but could not revoke its token: %w", err)
	}
	return nil
}
