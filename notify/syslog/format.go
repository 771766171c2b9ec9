package syslog

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/metadata"
)

// The priorities of RFC 5424: of the facility "log audit", severity informational for what came about and warning for what did not.
const (
	priorityDone   = 13*8 + 6
	priorityFailed = 13*8 + 4
)

// message is what the text of a syslog message has, as JSON.
type message struct {
	ID           int64  `json:"id"`
	At           string `json:"op_time"`
	Operation    string `json:"operation"`
	ResourceType string `json:"resource_type"`
	Resource     string `json:"resource"`
	Username     string `json:"username"`
	Credential   string `json:"credential"`
	Address      string `json:"client_address"`
	RequestID    string `json:"request_id"`
	ProjectID    int64  `json:"project_id"`
	Result       bool   `json:"operation_result"`
	Description  string `json:"operation_description"`
}

// frame returns an entry as a message of RFC 5424 with its length in front, as RFC 6587 frames it on a stream.
func frame(hostname string, e metadata.AuditEntry) ([]byte, error) {
	at := e.At.UTC().Format("2006-01-02T15:04:05.000000Z")
	text, err := json.Marshal(message{
		ID: e.ID, At: at, Operation: e.Operation, ResourceType: e.ResourceType, Resource: e.Resource, Username: e.Username,
		Credential: e.Credential, Address: e.Address, RequestID: e.RequestID, ProjectID: e.ProjectID, Result: e.Succeeded, Description: e.Description,
	})
	if err != nil {
		return nil, fmt.Errorf("encode audit entry %d: %w", e.ID, err)
	}
	priority := priorityDone
	if !e.Succeeded {
		priority = priorityFailed
	}
	header := fmt.Sprintf("<%d>1 %s %s berth - %s - ", priority, at, word(hostname, 255), word(e.Operation+"_"+e.ResourceType, 32))
	framed := strconv.AppendInt(make([]byte, 0, len(header)+len(text)+8), int64(len(header)+len(text)), 10)
	framed = append(framed, ' ')
	return append(append(framed, header...), text...), nil
}

// word is a text as a field of the header may be: printable ASCII, and "-" for nothing.
func word(text string, longest int) string {
	text = strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return -1
		}
		return c
	}, text)
	if text == "" {
		return "-"
	}
	return text[:min(len(text), longest)]
}

// settle is how long a connection has to stay up after a write until what was written is taken for received: the protocol has no
// acknowledgement, and what a dying server had not read is lost without an error.
const settle = 2 * time.Second
