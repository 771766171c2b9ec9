package command

import (
	"fmt"
	"io"
	"slices"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

const documentation = `
Documentation: https://github.com/berth-registry/berth/tree/main/docs
`

const examples = `  berth run --config /etc/berth/Caddyfile
  berth reload --config /etc/berth/Caddyfile
  berth doctor
  berth login registry.example.com
  berth project create team`

// Help writes what the program has to offer when the command line asks for that and for nothing else, and reports whether it did: what
// Caddy itself would write is about Caddy.
func Help(to io.Writer, line []string, about string) (bool, error) {
	asks := len(line) == 1 || len(line) == 2 && slices.Contains([]string{"help", "-h", "--help"}, line[1])
	if !asks {
		return false, nil
	}
	root := &cobra.Command{Use: "berth", Long: about, Example: examples}
	root.SetHelpTemplate(root.HelpTemplate() + documentation)
	root.SetOut(to)
	for name, given := range caddycmd.Commands() {
		offered := &cobra.Command{Use: name, Short: given.Short}
		if given.CobraFunc != nil {
			given.CobraFunc(offered)
		}
		offered.Run = func(*cobra.Command, []string) {} // what does nothing is not listed
		root.AddCommand(offered)
	}
	root.SetArgs([]string{"--help"})
	if err := root.Execute(); err != nil {
		return true, fmt.Errorf("help: %w", err)
	}
	return true, nil
}
