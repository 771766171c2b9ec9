package caddymodules

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "user",
		Short:     "Creates, lists, changes and deletes users",
		Long:      commandLong,
		CobraFunc: userCommand,
	})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "project",
		Short:     "Creates, lists, changes and deletes projects",
		Long:      commandLong,
		CobraFunc: projectCommand,
	})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "member",
		Short:     "Gives users roles in projects",
		Long:      commandLong,
		CobraFunc: memberCommand,
	})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "doctor",
		Short: "Checks the configuration, the database, the storage, the clock and the certificate",
		Long: `Checks what the server needs, one line each, and says what to do about what fails. It changes nothing but a small
object that it writes to the storage, reads and deletes. The exit status is 0 when everything is in order.`,
		CobraFunc: doctorCommand,
	})
}

const commandLong = `Works on the registry of the Caddyfile in this directory, or of the file that --config names: through the admin endpoint
of the server when it runs, else on its database. Passwords are asked for, or read from standard input when that is not a
terminal; never put them into arguments, which everybody on the machine can read.`

// do adds a subcommand that takes exactly the arguments that its usage names.
func do(parent *cobra.Command, usage, short string, run func(*cobra.Command, target, []string) error) *cobra.Command {
	command := &cobra.Command{
		Use:   usage,
		Short: short,
		Args:  cobra.ExactArgs(strings.Count(usage, " <")),
		RunE: func(command *cobra.Command, arguments []string) error {
			command.SilenceUsage = true
			if format := outputOf(command); format != "table" && format != "json" {
				return fmt.Errorf("--output is %q: it must be table or json", format)
			}
			found, err := findTarget(command)
			if err != nil {
				return err
			}
			return run(command, found, arguments)
		},
	}
	parent.AddCommand(command)
	return command
}

func outputOf(command *cobra.Command) string { return command.Flags().Lookup("output").Value.String() }

// printList prints entries as a table or as JSON.
func printList[T any](command *cobra.Command, entries []T, columns []string, row func(T) []any) error {
	if outputOf(command) == "json" {
		encoder := json.NewEncoder(command.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(entries)
	}
	table := tabwriter.NewWriter(command.OutOrStdout(), 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, strings.Join(columns, "\t"))
	for _, entry := range entries {
		cells := row(entry)
		_, _ = fmt.Fprintf(table, strings.TrimSuffix(strings.Repeat("%v\t", len(cells)), "\t")+"\n", cells...)
	}
	return table.Flush()
}

// report prints what was done: a sentence, or the result as JSON.
func report(command *cobra.Command, result any, format string, arguments ...any) error {
	if outputOf(command) == "json" {
		if result == nil {
			result = struct{}{}
		}
		encoder := json.NewEncoder(command.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	_, err := fmt.Fprintf(command.OutOrStdout(), format+"\n", arguments...)
	return err
}

// readPassword asks for a new password, twice, or takes the first line of standard input when that is no terminal.
func readPassword(command *cobra.Command) (string, error) {
	if file, ok := command.InOrStdin().(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return askPassword(command.ErrOrStderr(), int(file.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(command.InOrStdin(), maxArguments)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		return "", errors.New("no password on standard input")
	}
	return password, nil
}

func askPassword(prompt io.Writer, terminal int) (string, error) {
	ask := func(question string) (string, error) {
		_, _ = fmt.Fprint(prompt, question)
		answer, err := term.ReadPassword(terminal)
		_, _ = fmt.Fprintln(prompt)
		return string(answer), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}
