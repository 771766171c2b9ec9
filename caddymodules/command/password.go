package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxLine is the longest line that is read from standard input.
const maxLine = 64 << 10

// readPassword asks for a password, a new one twice, or takes the first line of standard input when that is no terminal.
func readPassword(command *cobra.Command, isNew bool) (string, error) {
	if file, ok := command.InOrStdin().(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return askPassword(command.ErrOrStderr(), int(file.Fd()), isNew)
	}
	line, err := bufio.NewReader(io.LimitReader(command.InOrStdin(), maxLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		return "", usageError("no password on standard input")
	}
	return password, nil
}

func askPassword(prompt io.Writer, terminal int, isNew bool) (string, error) {
	ask := func(question string) (string, error) {
		_, _ = fmt.Fprint(prompt, question)
		answer, err := term.ReadPassword(terminal)
		_, _ = fmt.Fprintln(prompt)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		return string(answer), nil
	}
	first, err := ask("Password: ")
	if err != nil || !isNew {
		return first, err
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", usageError("the two passwords differ")
	}
	return first, nil
}
