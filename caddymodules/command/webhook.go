package command

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// webhook is a webhook as the API returns it.
type webhook struct {
	ID         int64           `json:"id"`
	Name       string          `json:"name"`
	Enabled    bool            `json:"enabled"`
	EventTypes []string        `json:"event_types"`
	Targets    []webhookTarget `json:"targets"`
}

// webhookTarget is a receiver; what is secret of one reads as stars.
type webhookTarget struct {
	Type          string `json:"type"`
	Address       string `json:"address"`
	PayloadFormat string `json:"payload_format,omitempty"`
	Secret        string `json:"secret,omitempty"`
	AuthHeader    string `json:"auth_header,omitempty"`
	SkipVerify    bool   `json:"skip_cert_verify"`
	CACertificate string `json:"ca_certificate,omitempty"`
}

// webhookTrial is what came of trying a target.
type webhookTrial struct {
	Address    string `json:"address"`
	Succeeded  bool   `json:"succeeded"`
	StatusCode int    `json:"status_code"`
	Response   string `json:"response"`
	Error      string `json:"error"`
}

// webhookDelivery is a delivery.
type webhookDelivery struct {
	ID        int64             `json:"id"`
	Status    string            `json:"status"`
	Message   string            `json:"status_message"`
	Extra     map[string]string `json:"extra_attrs"`
	StartedAt time.Time         `json:"start_time"`
}

func webhookCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	command.PersistentFlags().String("project", "", "whose events are told (default: those of all projects, for system administrators)")
	do(command, local, "list", "Lists the webhooks", func(c *call) error {
		webhooks, err := list[webhook](c.Context(), c.API, webhooksPath(c), nil, 0)
		if err != nil {
			return err
		}
		return printList(c, webhooks,
			column[webhook]{"NAME", func(w webhook) any { return w.Name }},
			column[webhook]{"ENABLED", func(w webhook) any { return yesNo(w.Enabled) }},
			column[webhook]{"EVENTS", func(w webhook) any { return strings.Join(w.EventTypes, ",") }},
			column[webhook]{"TARGETS", func(w webhook) any { return w.addresses() }})
	})
	add := do(command, local, "add <name> <address>", "Adds a webhook", addWebhook)
	add.Flags().StringSlice("event", []string{"PUSH_ARTIFACT", "DELETE_ARTIFACT"}, "types of event, with commas between")
	add.Flags().String("type", "http", "http or slack")
	add.Flags().String("format", "", "Default or CloudEvents")
	add.Flags().Bool("with-secret", false, "ask for a secret that signs what is sent")
	add.Flags().Bool("skip-verify", false, "trust whatever certificate the receiver has")
	do(command, local, "delete <name>", "Deletes a webhook, and what was to be delivered", func(c *call) error {
		found, err := findWebhook(c)
		if err != nil {
			return err
		}
		if _, err := c.change(c.Context(), http.MethodDelete, found.path(c), nil); err != nil {
			return err
		}
		return report(c, nil, "Deleted the webhook %s.", found.Name)
	})
	do(command, local, "test <name>", "Sends a test to the targets of a webhook, and prints what they say", func(c *call) error {
		found, err := findWebhook(c)
		if err != nil {
			return err
		}
		trials, err := create[[]webhookTrial](c.Context(), c.API, webhooksPath(c)+at("test"), found)
		if err != nil {
			return err
		}
		if err := printList(c, trials,
			column[webhookTrial]{"TARGET", func(t webhookTrial) any { return t.Address }},
			column[webhookTrial]{"ARRIVED", func(t webhookTrial) any { return yesNo(t.Succeeded) }},
			column[webhookTrial]{"STATUS", func(t webhookTrial) any { return t.StatusCode }},
			column[webhookTrial]{"ANSWER", func(t webhookTrial) any { return strings.TrimSpace(t.Error + " " + t.Response) }}); err != nil {
			return err
		}
		if lost := slices.IndexFunc(trials, func(t webhookTrial) bool { return !t.Succeeded }); lost >= 0 {
			return fmt.Errorf("the test has not arrived at %s", trials[lost].Address)
		}
		return nil
	})
	do(command, local, "deliveries <name>", "Lists what a webhook has delivered, the newest first", listDeliveries).
		Flags().Int("limit", 20, "how many at the most; 0 for all")
	do(command, local, "redeliver <name> <delivery>", "Delivers again what was given up, or got lost at the receiver", func(c *call) error {
		found, err := findWebhook(c)
		if err != nil {
			return err
		}
		location, err := c.change(c.Context(), http.MethodPost, found.path(c)+at("executions", c.arguments[1], "redeliver"), nil)
		if err != nil {
			return err
		}
		id := location[strings.LastIndexByte(location, '/')+1:]
		return report(c, map[string]string{"delivery": id}, "Delivers again as delivery %s.", id)
	})
	do(command, local, "log <name> <delivery>", "Prints what was tried to deliver something, and what the receiver has answered", deliveryLog)
}

func (w webhook) addresses() string {
	addresses := make([]string, len(w.Targets))
	for i, target := range w.Targets {
		addresses[i] = target.Address
	}
	return strings.Join(addresses, ",")
}

func (w webhook) path(c *call) string { return webhooksPath(c) + at(strconv.FormatInt(w.ID, 10)) }

func webhooksPath(c *call) string {
	if project := c.text("project"); project != "" {
		return at("projects", project, "webhook", "policies")
	}
	return at("system", "webhook", "policies")
}

func findWebhook(c *call) (webhook, error) {
	name := c.arguments[0]
	webhooks, err := list[webhook](c.Context(), c.API, webhooksPath(c), nil, 0)
	if err != nil {
		return webhook{}, err
	}
	for _, w := range webhooks {
		if w.Name == name {
			return w, nil
		}
	}
	return webhook{}, &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no webhook %q", name)}
}

func addWebhook(c *call) error {
	events, err := c.Flags().GetStringSlice("event")
	if err != nil {
		return err
	}
	target := webhookTarget{Type: c.text("type"), Address: c.arguments[1], PayloadFormat: c.text("format"), SkipVerify: c.on("skip-verify")}
	if c.on("with-secret") {
		if target.Secret, err = readPassword(c.Command, true); err != nil {
			return err
		}
	}
	wanted := webhook{Name: c.arguments[0], Enabled: true, EventTypes: events, Targets: []webhookTarget{target}}
	location, err := c.change(c.Context(), http.MethodPost, webhooksPath(c), wanted)
	if err != nil {
		return err
	}
	return report(c, map[string]string{"webhook": location[strings.LastIndexByte(location, '/')+1:]}, "Added the webhook %s.", wanted.Name)
}

func listDeliveries(c *call) error {
	limit, err := c.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	found, err := findWebhook(c)
	if err != nil {
		return err
	}
	deliveries, err := list[webhookDelivery](c.Context(), c.API, found.path(c)+at("executions"), url.Values{}, limit)
	if err != nil {
		return err
	}
	return printList(c, deliveries,
		column[webhookDelivery]{"ID", func(d webhookDelivery) any { return d.ID }},
		column[webhookDelivery]{"WHEN", func(d webhookDelivery) any { return d.StartedAt.Local().Format(time.DateTime) }},
		column[webhookDelivery]{"EVENT", func(d webhookDelivery) any { return d.Extra["event_type"] }},
		column[webhookDelivery]{"STATUS", func(d webhookDelivery) any { return d.Status }},
		column[webhookDelivery]{"MESSAGE", func(d webhookDelivery) any { return d.Message }})
}

func deliveryLog(c *call) error {
	found, err := findWebhook(c)
	if err != nil {
		return err
	}
	tasks := found.path(c) + at("executions", c.arguments[1], "tasks")
	of, err := list[struct {
		ID int64 `json:"id"`
	}](c.Context(), c.API, tasks, nil, 0)
	if err != nil {
		return err
	}
	for _, task := range of {
		_, text, err := c.send(c.Context(), http.MethodGet, tasks+at(strconv.FormatInt(task.ID, 10), "log"), nil)
		if err != nil {
			return err
		}
		if _, err := c.OutOrStdout().Write(text); err != nil {
			return err
		}
	}
	return nil
}
