package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// configValue is a value of the configuration as the API returns it.
type configValue struct {
	Value    any  `json:"value"`
	Editable bool `json:"editable"`
}

func configCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	do(command, local, "get [key]", "Shows the configuration, or one value of it", func(c *call) error {
		values, err := readConfig(c)
		if err != nil {
			return err
		}
		if len(c.arguments) == 1 {
			value, known := values[c.arguments[0]]
			if !known {
				return &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("the configuration has no %q", c.arguments[0])}
			}
			return report(c, value.Value, "%v", value.Value)
		}
		if outputOf(c.Command) == "json" {
			return printJSON(c.OutOrStdout(), values)
		}
		return printList(c, slices.Sorted(maps.Keys(values)),
			column[string]{"KEY", func(key string) any { return key }},
			column[string]{"VALUE", func(key string) any { return values[key].Value }},
			column[string]{"EDITABLE", func(key string) any { return yesNo(values[key].Editable) }})
	})
	do(command, local, "set <key> [value]", "Sets a value; one that is not in the arguments comes from standard input, as secrets should", func(c *call) error {
		if len(c.arguments) == 2 {
			return setConfig(c, c.arguments[0], c.arguments[1])
		}
		text, err := readPassword(c.Command, false)
		if err != nil {
			return err
		}
		return setConfig(c, c.arguments[0], text)
	})
	exportCommands(command, local)
}

func readConfig(c *call) (map[string]configValue, error) {
	return get[map[string]configValue](c.Context(), c.API, "/configurations", nil)
}

// setConfig sets a value of the type that the key has now; a secret, which cannot be read, is text.
func setConfig(c *call, key, text string) error {
	values, err := readConfig(c)
	if err != nil {
		return err
	}
	now, known := values[key]
	if !known {
		return usageError("there is no setting %q: \"berth config get\" lists them", key)
	}
	var value any = text
	switch now.Value.(type) {
	case bool, float64:
		if json.Unmarshal([]byte(strings.TrimSpace(text)), &value) != nil {
			return usageError("%s is %v now: %q is of another type", key, now.Value, text)
		}
	}
	if _, err := c.change(c.Context(), http.MethodPut, "/configurations", map[string]any{key: value}); err != nil {
		return err
	}
	return report(c, nil, "Set %s.", key)
}
