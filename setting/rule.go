package setting

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
)

// maxText is the longest text that is kept, in bytes.
const maxText = 64 << 10

// rule says what is wrong with a value of the right kind, as the end of a sentence that begins with the key's name; "" for
// nothing.
type rule func(value any) string

// Check returns the value as the key's kind, and refuses what the key cannot be. The value is as [encoding/json] decodes it, with
// numbers as float64 or json.Number, or of the key's own kind; a number or a switch may also come as its text. The error is a
// [*fault.Error].
func (k *Key) Check(value any) (any, error) {
	converted, err := k.convert(value)
	if err != nil {
		return nil, err
	}
	if text, isText := converted.(string); isText {
		if len(text) > maxText {
			return nil, fault.New(fault.Invalid, "setting %s must not be longer than %d bytes", k.Name, maxText)
		}
		if strings.ContainsRune(text, 0) {
			return nil, fault.New(fault.Invalid, "setting %s must not contain a null character", k.Name)
		}
	}
	for _, r := range k.rules {
		if wrong := r(converted); wrong != "" {
			return nil, fault.New(fault.Invalid, "setting %s %s", k.Name, wrong)
		}
	}
	return converted, nil
}

// checkTogether refuses values that do not go together.
func checkTogether(values Values) error {
	if values.On(SkipAuditLogDatabase) && values.Text(AuditLogForwardEndpoint) == "" {
		return fault.New(fault.Invalid, "setting %s needs %s, or nobody would keep the audit log", SkipAuditLogDatabase.Name, AuditLogForwardEndpoint.Name)
	}
	return nil
}

func oneOf(words ...string) rule {
	return func(value any) string {
		if slices.Contains(words, value.(string)) {
			return ""
		}
		return "must be one of " + strings.Join(words, ", ")
	}
}

func between(low, high int64) rule {
	return func(value any) string {
		if n := value.(int64); n >= low && n <= high {
			return ""
		}
		if high == math.MaxInt32 {
			return fmt.Sprintf("must be at least %d", low)
		}
		return fmt.Sprintf("must be from %d to %d", low, high)
	}
}

// positive is for times, in whatever unit.
var positive = between(1, math.MaxInt32)

// positiveOrNever is for times that -1 makes endless.
func positiveOrNever(value any) string {
	if n := value.(int64); n == -1 || n > 0 && n <= math.MaxInt32 {
		return ""
	}
	return "must be positive, or -1 for never"
}

func storageLimit(value any) string {
	if n := value.(int64); n >= metadata.Unlimited && n <= metadata.MaxLimit {
		return ""
	}
	return fmt.Sprintf("must be a number of bytes up to %d, or -1 for no limit", int64(metadata.MaxLimit))
}

func regularExpression(value any) string {
	if _, err := regexp.Compile(value.(string)); err != nil {
		return "must be a regular expression: " + err.Error()
	}
	return ""
}

func openIDScope(value any) string {
	scopes := strings.FieldsFunc(value.(string), func(c rune) bool { return c == ',' || c == ' ' })
	if slices.Contains(scopes, "openid") {
		return ""
	}
	return "must have openid among its scopes, which are separated by commas"
}

func objectOfTexts(value any) string {
	text := value.(string)
	var object map[string]string
	if text == "" || json.Unmarshal([]byte(text), &object) == nil {
		return ""
	}
	return `must be a JSON object of texts, such as {"prompt":"login"}`
}

// robotPrefix keeps the names of robots apart from users' and from what the parts of credentials are separated by.
func robotPrefix(value any) string {
	text := value.(string)
	if text == "" || len(text) > 64 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(":/+@,\"\\", c) }) {
		return `must be 1 to 64 printable characters without : / + @ , " \`
	}
	return ""
}
