package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/metadata"
)

// The content types of requests.
const (
	contentJSON        = "application/json"
	contentCloudEvents = "application/cloudevents+json"
)

// encode returns the body of the request to a target, and its content type.
func encode(o occurrence, policy metadata.WebhookPolicy, target metadata.WebhookTarget, host string) (body []byte, contentType string, err error) {
	p, err := o.payload(host)
	if err != nil {
		return nil, "", err
	}
	var message any = p
	contentType = contentJSON
	switch {
	case target.Type == TargetSlack:
		if message, err = slackOf(p); err != nil {
			return nil, "", err
		}
	case target.Format == FormatCloudEvents:
		message, contentType = cloudEventOf(o, p, policy), contentCloudEvents
	}
	body, err = json.Marshal(message)
	if err != nil {
		return nil, "", fmt.Errorf("encode event %s: %w", o.ID, err)
	}
	return body, contentType, nil
}

// cloudEvent is an event in the structured mode of CloudEvents 1.0; requestid and operator are extensions.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	DataContentType string    `json:"datacontenttype"`
	Time            string    `json:"time"`
	RequestID       string    `json:"requestid,omitempty"`
	Operator        string    `json:"operator,omitempty"`
	Data            eventData `json:"data"`
}

func cloudEventOf(o occurrence, p payload, policy metadata.WebhookPolicy) cloudEvent {
	source := fmt.Sprintf("/projects/%d/webhook/policies/%d", policy.ProjectID, policy.ID)
	if policy.ProjectID == 0 {
		source = fmt.Sprintf("/system/webhook/policies/%d", policy.ID)
	}
	return cloudEvent{
		SpecVersion: "1.0", ID: o.ID, Source: source, Type: o.Type.cloudEvent(), DataContentType: contentJSON,
		Time: o.At.UTC().Format(time.RFC3339), RequestID: o.RequestID, Operator: o.Actor, Data: p.EventData,
	}
}

// maxSlackText is the most that Slack takes in one block, in characters; some room is left for what is around it.
const maxSlackText = 2900

// slackMessage is a message of Slack's incoming webhooks. Text is what notifications show.
type slackMessage struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string    `json:"type"`
	Text slackText `json:"text"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// slackEscapes keep texts from mentioning people and linking.
var slackEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func slackOf(p payload) (slackMessage, error) {
	var pretty strings.Builder
	encoder := json.NewEncoder(&pretty)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(p.EventData); err != nil {
		return slackMessage{}, fmt.Errorf("encode event data: %w", err)
	}
	summary := string(p.Type)
	if len(p.EventData.Resources) > 0 && p.EventData.Resources[0].URL != "" {
		summary += " " + p.EventData.Resources[0].URL
	}
	operator := slackEscapes.Replace(p.Operator)
	occurred := time.Unix(p.OccurAt, 0).UTC().Format(time.RFC3339)
	message := slackMessage{Text: slackEscapes.Replace(summary)}
	for _, text := range []string{
		"*Registry event*",
		"*event_type:* " + string(p.Type),
		fmt.Sprintf("*occur_at:* <!date^%d^{date} {time}|%s>", p.OccurAt, occurred),
		"*operator:* " + operator,
		"*event_data:*\n```" + shortened(slackEscapes.Replace(strings.ReplaceAll(strings.TrimSpace(pretty.String()), "```", "'''")), maxSlackText) + "```",
	} {
		message.Blocks = append(message.Blocks, slackBlock{"section", slackText{"mrkdwn", text}})
	}
	return message, nil
}

// shortened is a text of at most n bytes.
func shortened(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
