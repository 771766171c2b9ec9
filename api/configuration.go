package api

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/setting"
)

func (a *API) configurationRoutes() []Route {
	return []Route{
		define(Route{
			ID: "getConfigurations", Tag: "configure", Method: http.MethodGet, Path: "/configurations",
			Summary:    "Returns what administrators configure, but for passwords",
			Permission: inSystem("configuration", policy.Read), Statuses: []int{401, 403, 500},
		}, a.getConfigurations),
		define(Route{
			ID: "updateConfigurations", Tag: "configure", Method: http.MethodPut, Path: "/configurations",
			Summary:    "Changes the settings that are given, all or none of them",
			Permission: inSystem("configuration", policy.Update), InReadOnly: true, Statuses: []int{400, 401, 403, 422, 500},
		}, a.updateConfigurations),
		define(Route{
			ID: "getInternalconfig", Tag: "configure", Method: http.MethodGet, Path: "/internalconfig", Summary: "Returns the same as /configurations",
			Permission: inSystem("configuration", policy.Read), Statuses: []int{401, 403, 500},
		}, a.getConfigurations),
	}
}

// configured is a setting as clients read it.
type configured struct {
	Value any `json:"value" doc:"a text, a number or a switch"`
	// Editable is false for what the server's configuration file has pinned.
	Editable bool `json:"editable"`
}

// scanAllPolicy stands among the settings of Harbor's clients and is none of ours: scans are scheduled elsewhere.
type scanAllPolicy struct {
	Type      string `json:"type"`
	Parameter struct {
		DailyTime int64 `json:"daily_time"`
	} `json:"parameter"`
}

func (a *API) getConfigurations(c *Call, _ struct{}) (map[string]any, error) {
	values, err := a.options.Settings.Values(c.Context())
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"scan_all_policy": scanAllPolicy{Type: "none"}}
	for _, key := range setting.Keys() {
		if key.Kind != setting.Secret {
			answer[key.Name] = configured{Value: values.Value(key), Editable: !values.Pinned(key)}
		}
	}
	// Harbor counts this one among the texts, and its command line fails where it is missing.
	answer[setting.UAAClientSecret.Name] = configured{Value: "", Editable: !values.Pinned(setting.UAAClientSecret)}
	return answer, nil
}

// configurationChanges are values by the names of settings, with numbers as they were written.
type configurationChanges map[string]any

// UnmarshalJSON reads them.
func (c *configurationChanges) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode((*map[string]any)(c))
}

// updateConfigurationsInput are the changes.
type updateConfigurationsInput struct {
	Body configurationChanges `body:""`
}

// updateConfigurations passes over what is null and settings that it does not know, because clients send all that they have.
func (a *API) updateConfigurations(c *Call, in updateConfigurationsInput) (None, error) {
	changes := map[*setting.Key]any{}
	for name, value := range in.Body {
		if key, known := setting.Find(name); known && value != nil {
			changes[key] = value
		}
	}
	return None{}, a.options.Settings.Update(c.Context(), c.actor(), changes)
}
