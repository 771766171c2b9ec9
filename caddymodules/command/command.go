// Package command is Berth's own command line, besides Caddy's: each command is one or a few requests to the management API of a
// registry, be it far away, running on this machine, or not running at all.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Local finds the registry that a configuration file on this machine describes, running or not.
type Local func(ctx context.Context, place Place) (*API, error)

// Place is where a registry of this machine is configured.
type Place struct {
	// Config is the configuration file, Adapter what it is adapted with, Address that of the admin endpoint; each may be empty.
	Config, Adapter, Address string
}

// ErrNoConfig is returned by a [Local] when there is no configuration where it is looked for by itself.
var ErrNoConfig = errors.New("there is no Caddyfile with a registry in this directory")

// The statuses that commands exit with, besides 0 for success.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitUnreachable = 6
)

// group is a command with subcommands.
type group struct {
	name, short string
	add         func(g *cobra.Command, local Local)
}

// groups are all of them.
var groups = []group{
	{"login", "Logs in to a registry, for the other commands", loginCommand},
	{"logout", "Forgets a login and revokes its token", logoutCommand},
	{"project", "Creates, lists, changes and deletes projects", projectCommands},
	{"member", "Gives users and groups roles in projects", memberCommands},
	{"user", "Creates, lists, changes and deletes users", userCommands},
	{"robot", "Creates, lists, changes and deletes robot accounts", robotCommands},
	{"token", "Makes and revokes personal access tokens", tokenCommands},
	{"quota", "Shows and sets how much projects may store", quotaCommands},
	{"artifact", "Lists, shows, tags, copies and deletes what is stored", artifactCommands},
	{"audit", "Shows and purges the audit log", auditCommands},
	{"registry", "Tells of registries elsewhere, to copy to and from", registryCommands},
	{"replication", "Executes replication policies, and follows them", replicationCommands},
	{blobs, "Shows what is stored, and verifies it; also called storage, which has Caddy's export and import of certificates too", storageCommands},
	{"gc", "Frees the bytes that nothing needs any more", gcCommands},
	{"job", "Shows, stops and pauses work in the background", jobCommands},
	{"webhook", "Adds, lists, tries and deletes webhooks", webhookCommands},
	{"config", "Reads and changes the configuration, exports and imports the whole", configCommands},
}

// blobs is the group that people know as storage. Caddy has a group of that name, which no other program can add to.
const blobs = "blobs"

// Arguments returns a command line that asks the group blobs for what it asks storage for, but for the two commands that Caddy has there.
func Arguments(line []string) []string {
	if len(line) < 2 || line[1] != "storage" || len(line) > 2 && slices.Contains([]string{"export", "import"}, line[2]) {
		return line
	}
	line = slices.Clone(line)
	line[1] = blobs
	return line
}

// Register adds the commands to Caddy's.
func Register(local Local) {
	for _, g := range groups {
		caddycmd.RegisterCommand(caddycmd.Command{
			Name: g.name, Short: g.short, Long: g.short + ".\n\n" + long,
			CobraFunc: func(command *cobra.Command) { g.build(command, local) },
		})
	}
}

// New returns one group of the commands by its name, nil when there is none, for tests.
func New(name string, local Local) *cobra.Command {
	for _, g := range groups {
		if g.name == name {
			command := &cobra.Command{Use: name, Short: g.short}
			g.build(command, local)
			return command
		}
	}
	return nil
}

// build adds the subcommands, and has what cobra finds wrong exit as what they find does.
func (g group) build(command *cobra.Command, local Local) {
	g.add(command, local)
	command.SetHelpTemplate(command.HelpTemplate() + documentation)
	command.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		command.SilenceUsage = true
		return exit(command, func() error { return usageError("%v", err) })
	})
	if !command.HasSubCommands() {
		return
	}
	command.Args = cobra.ArbitraryArgs
	command.RunE = func(command *cobra.Command, arguments []string) error {
		if len(arguments) == 0 {
			return command.Help()
		}
		command.SilenceUsage = true
		return exit(command, func() error {
			return usageError("there is no command %q: see \"%s --help\"", arguments[0], command.CommandPath())
		})
	}
}

const long = `Works on the registry that --server or BERTH_SERVER names; else on that of the Caddyfile in this directory, or of the file that
--config names, through its admin endpoint when it runs and on its database when it does not; else on the one that "berth login"
was last used with. Passwords are asked for, or read from standard input when that is not a terminal.

Exit status: 0 done, 1 failed, 2 used wrongly, 3 not found, 4 not logged in or not allowed, 5 in conflict with what is there,
6 the registry cannot be reached.`

// connectionFlags adds the flags that say which registry is meant, and how to print.
func connectionFlags(command *cobra.Command) {
	command.PersistentFlags().String("server", "", "address of the registry, as used with \"berth login\" (default: BERTH_SERVER)")
	PlaceFlags(command)
}

// PlaceFlags adds the flags that say where a registry of this machine is configured, and how to print.
func PlaceFlags(command *cobra.Command) {
	flags := command.PersistentFlags()
	flags.StringP("config", "c", "", "configuration file of a registry on this machine (default: Caddyfile in this directory)")
	flags.StringP("adapter", "a", "", "configuration adapter, where the file is not a Caddyfile or JSON")
	flags.String("address", "", "address of the admin endpoint of a registry on this machine (default: that of the configuration)")
	flags.StringP("output", "o", "table", "how to print: table or json")
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// PlaceOf returns the place that the flags name.
func PlaceOf(command *cobra.Command) Place {
	flag := func(name string) string { return command.Flags().Lookup(name).Value.String() }
	return Place{Config: flag("config"), Adapter: flag("adapter"), Address: flag("address")}
}

// call is one run of a command.
type call struct {
	*cobra.Command
	*API
	arguments []string
}

// do adds a subcommand that takes exactly the arguments its usage names; one in brackets may be missing.
func do(parent *cobra.Command, local Local, usage, short string, run func(c *call) error) *cobra.Command {
	command := &cobra.Command{Use: usage, Short: short}
	act(command, local, run)
	parent.AddCommand(command)
	return command
}

// act makes a command run with a connection.
func act(command *cobra.Command, local Local, run func(c *call) error) {
	fewest := strings.Count(command.Use, " <")
	most := fewest + strings.Count(command.Use, " [")
	command.Args = cobra.ArbitraryArgs // they are counted where the exit status can be chosen
	command.RunE = func(command *cobra.Command, arguments []string) error {
		command.SilenceUsage = true
		return exit(command, func() error {
			if len(arguments) < fewest || len(arguments) > most {
				return usageError("usage: %s", command.UseLine())
			}
			if format := outputOf(command); format != "table" && format != "json" {
				return usageError("--output is %q: it must be table or json", format)
			}
			connected, err := connect(command, local)
			if err != nil {
				return err
			}
			err = run(&call{Command: command, API: connected, arguments: arguments})
			if connected.Close != nil {
				err = errors.Join(err, connected.Close())
			}
			return err
		})
	}
}

// exit runs a command and has the process exit with the status of its error.
func exit(command *cobra.Command, run func() error) error {
	err := run()
	status := statusOf(err)
	if status <= exitFailed {
		return err
	}
	_, _ = fmt.Fprintln(command.ErrOrStderr(), "Error:", err)
	command.SilenceErrors = true
	// Only Caddy can make an error that has a status; it would log, in its own format, one that it is given to wrap.
	withStatus := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })
	return errors.Join(err, withStatus(command, nil))
}

// usageFault is an error of whoever typed the command.
type usageFault struct{ message string }

// Error returns the message.
func (e *usageFault) Error() string { return e.message }

func usageError(format string, args ...any) error {
	return &usageFault{fmt.Sprintf(format, args...)}
}

func statusOf(err error) int {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[*usageFault](err); ok {
		return exitUsage
	}
	if errors.Is(err, errUnreachable) {
		return exitUnreachable
	}
	refused, ok := errors.AsType[*Refusal](err)
	if !ok {
		return exitFailed
	}
	switch refused.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return exitUsage
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitDenied
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return exitUnreachable
	}
	return exitFailed
}

func outputOf(command *cobra.Command) string { return command.Flags().Lookup("output").Value.String() }

// column is one of a table.
type column[T any] struct {
	title string
	cell  func(T) any
}

// printList prints entries as a table or as JSON.
func printList[T any](c *call, entries []T, columns ...column[T]) error {
	if outputOf(c.Command) == "json" {
		return printJSON(c.OutOrStdout(), entries)
	}
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
	row := func(cell func(column[T]) any) {
		cells := make([]string, len(columns))
		for i, column := range columns {
			cells[i] = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(fmt.Sprint(cell(column)))
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	row(func(column column[T]) any { return column.title })
	for _, entry := range entries {
		row(func(column column[T]) any { return column.cell(entry) })
	}
	return table.Flush()
}

// report prints what was done: a sentence, or the result as JSON.
func report(c *call, result any, format string, arguments ...any) error {
	if outputOf(c.Command) == "json" {
		if result == nil {
			result = struct{}{}
		}
		return printJSON(c.OutOrStdout(), result)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), format+"\n", arguments...)
	return err
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// text returns a flag's text; flags that a command reads it has defined.
func (c *call) text(name string) string { return c.Flags().Lookup(name).Value.String() }

// on returns a switch.
func (c *call) on(name string) bool {
	value, _ := c.Flags().GetBool(name) // false where it is not a switch, which a command's author sees
	return value
}

// given reports whether a flag was given.
func (c *call) given(name string) bool { return c.Flags().Changed(name) }

// yesNo is a switch in a table.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
