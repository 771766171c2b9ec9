package api

import (
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/replicate"
	"github.com/berth-registry/berth/replicate/adapter"
)

func (a *API) registryRoutes() []Route {
	const all, one, kind, tag = "/registries", "/registries/{id}", "registry", "registry"
	return []Route{
		define(Route{
			ID: "listRegistries", Tag: tag, Method: http.MethodGet, Path: all, Summary: "Lists the registries elsewhere",
			Permission: inSystem(kind, policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.listRegistries),
		define(Route{
			ID: "createRegistry", Tag: tag, Method: http.MethodPost, Path: all, Summary: "Adds a registry elsewhere, which has to answer",
			Permission: inSystem(kind, policy.Create), Statuses: []int{400, 401, 403, 409, 500},
		}, a.createRegistry),
		define(Route{
			ID: "pingRegistry", Tag: tag, Method: http.MethodPost, Path: all + "/ping", Summary: "Asks a registry elsewhere whether it answers and takes the login",
			Permission: inSystem(kind, policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.pingRegistry),
		define(Route{
			ID: "getRegistry", Tag: tag, Method: http.MethodGet, Path: one, Summary: "Returns a registry elsewhere",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getRegistry),
		define(Route{
			ID: "updateRegistry", Tag: tag, Method: http.MethodPut, Path: one, Summary: "Changes a registry elsewhere; what is not given stays",
			Permission: inSystem(kind, policy.Update), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.updateRegistry),
		define(Route{
			ID: "deleteRegistry", Tag: tag, Method: http.MethodDelete, Path: one, Summary: "Removes a registry elsewhere that nothing uses",
			Permission: inSystem(kind, policy.Delete), Statuses: []int{401, 403, 404, 412, 500},
		}, a.deleteRegistry),
		define(Route{
			ID: "getRegistryInfo", Tag: tag, Method: http.MethodGet, Path: one + "/info", Summary: "Tells what a registry can be asked to replicate; 0 is this one",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getRegistryInfo),
		define(Route{
			ID: "listRegistryProviderTypes", Tag: tag, Method: http.MethodGet, Path: "/replication/adapters", Summary: "Lists the kinds of registry elsewhere",
			Permission: inSystem("replication-adapter", policy.List), Statuses: []int{401, 403, 500},
		}, a.listRegistryProviderTypes),
		define(Route{
			ID: "listRegistryProviderInfos", Tag: tag, Method: http.MethodGet, Path: "/replication/adapterinfos", Summary: "Tells where registries of each kind are, and how one logs in",
			Permission: inSystem("replication-adapter", policy.List), Statuses: []int{401, 403, 500},
		}, a.listRegistryProviderInfos),
	}
}

// hiddenSecret stands for a secret in answers; coming back, it stands for the one that there is.
const hiddenSecret = "*****"

// registryCredential is a login as clients read and write it.
type registryCredential struct {
	Type         string `json:"type" doc:"basic"`
	AccessKey    string `json:"access_key"`
	AccessSecret string `json:"access_secret"`
}

// remoteRegistry is a registry as clients read and write it.
type remoteRegistry struct {
	ID            int64               `json:"id"`
	Name          string              `json:"name"`
	URL           string              `json:"url"`
	Type          string              `json:"type" doc:"one of /replication/adapters"`
	Description   string              `json:"description"`
	Credential    *registryCredential `json:"credential,omitempty"`
	Insecure      bool                `json:"insecure" doc:"trust whatever certificate it has"`
	CACertificate string              `json:"ca_certificate" doc:"authorities to trust besides the machine's, in PEM"`
	Status        string              `json:"status" doc:"healthy or unhealthy, at the last look"`
	CreatedAt     Time                `json:"creation_time"`
	UpdatedAt     Time                `json:"update_time"`
}

func viewRemoteRegistry(r metadata.RemoteRegistry) remoteRegistry {
	view := remoteRegistry{
		ID: r.ID, Name: r.Name, URL: r.URL, Type: r.Kind, Description: r.Description, Insecure: r.Insecure, CACertificate: r.CACertificate,
		Status: r.Status, CreatedAt: Time(r.CreatedAt), UpdatedAt: Time(r.UpdatedAt),
	}
	if r.Username != "" || r.Secret != nil {
		view.Credential = &registryCredential{Type: r.Login, AccessKey: r.Username}
		if r.Secret != nil {
			view.Credential.AccessSecret = hiddenSecret
		}
	}
	return view
}

// listRegistriesInput are the parameters of listRegistries.
type listRegistriesInput struct {
	Paging
	Name string `query:"name" doc:"part of the name"`
}

func (a *API) listRegistries(c *Call, in listRegistriesInput) (Page[remoteRegistry], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[remoteRegistry]{}, err
	}
	if in.Name != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{in.Name}})
	}
	rows, total, err := a.options.Store.ListRemoteRegistries(c.Context(), q)
	if err != nil {
		return Page[remoteRegistry]{}, err
	}
	return NewPage(in.Paging, rows, total, viewRemoteRegistry), nil
}

func (a *API) createRegistry(c *Call, in struct {
	Body remoteRegistry `body:""`
},
) (Created, error) {
	wanted := replicate.WantedRegistry{
		Name: in.Body.Name, URL: in.Body.URL, Kind: in.Body.Type, Description: in.Body.Description, Insecure: in.Body.Insecure, CACertificate: in.Body.CACertificate,
	}
	if credential := in.Body.Credential; credential != nil {
		wanted.Login, wanted.Username, wanted.Secret = credential.Type, credential.AccessKey, &credential.AccessSecret
	}
	created, err := a.options.Registries.Create(c.Context(), c.actor(), wanted)
	return Created{Location: Prefix + "/registries/" + strconv.FormatInt(created.ID, 10)}, err
}

// registryChange is what is to change about a registry; what is not given stays.
type registryChange struct {
	Name           *string `json:"name"`
	Description    *string `json:"description"`
	URL            *string `json:"url"`
	CredentialType *string `json:"credential_type"`
	AccessKey      *string `json:"access_key"`
	AccessSecret   *string `json:"access_secret"`
	Insecure       *bool   `json:"insecure"`
	CACertificate  *string `json:"ca_certificate"`
}

// apply makes the changes.
func (b registryChange) apply(wanted *replicate.WantedRegistry) {
	take(&wanted.Name, b.Name)
	take(&wanted.Description, b.Description)
	take(&wanted.URL, b.URL)
	take(&wanted.Login, b.CredentialType)
	take(&wanted.Username, b.AccessKey)
	take(&wanted.Insecure, b.Insecure)
	take(&wanted.CACertificate, b.CACertificate)
	if b.AccessSecret != nil && *b.AccessSecret != hiddenSecret {
		wanted.Secret = b.AccessSecret
	}
}

// take takes over what is given.
func take[T any](into, given *T) {
	if given != nil {
		*into = *given
	}
}

func (a *API) pingRegistry(c *Call, in struct {
	Body struct {
		ID   int64   `json:"id" doc:"a registry that is there; the rest changes it for the question"`
		Type *string `json:"type"`
		registryChange
	} `body:""`
},
) (None, error) {
	return None{}, a.options.Registries.Ping(c.Context(), in.Body.ID, func(wanted *replicate.WantedRegistry) {
		in.Body.apply(wanted)
		take(&wanted.Kind, in.Body.Type)
	})
}

// remoteRegistryInput names a registry.
type remoteRegistryInput struct {
	ID int64 `path:"id"`
}

func (a *API) remoteRegistry(c *Call, id int64) (metadata.RemoteRegistry, error) {
	row, err := a.options.Store.RemoteRegistry(c.Context(), id)
	if isMissing(err) {
		err = fault.New(fault.NotFound, "registry %d not found", id)
	}
	return row, err
}

func (a *API) getRegistry(c *Call, in remoteRegistryInput) (remoteRegistry, error) {
	row, err := a.remoteRegistry(c, in.ID)
	return viewRemoteRegistry(row), err
}

func (a *API) updateRegistry(c *Call, in struct {
	remoteRegistryInput
	Body registryChange `body:""`
},
) (None, error) {
	row, err := a.remoteRegistry(c, in.ID)
	if err != nil {
		return None{}, err
	}
	wanted := replicate.Wanted(row)
	in.Body.apply(&wanted)
	return None{}, a.options.Registries.Update(c.Context(), c.actor(), in.ID, wanted)
}

func (a *API) deleteRegistry(c *Call, in remoteRegistryInput) (None, error) {
	return None{}, a.options.Registries.Delete(c.Context(), c.actor(), in.ID)
}

// filterStyle is a filter that policies may have, and how it is filled in.
type filterStyle struct {
	Type   string   `json:"type"`
	Style  string   `json:"style" doc:"input, radio or list"`
	Values []string `json:"values,omitempty"`
}

// registryInfo is what a registry can be asked to replicate.
type registryInfo struct {
	Type            string        `json:"type"`
	Description     string        `json:"description"`
	Filters         []filterStyle `json:"supported_resource_filters"`
	Triggers        []string      `json:"supported_triggers"`
	SupportsByChunk bool          `json:"supported_copy_by_chunk"`
}

func (a *API) getRegistryInfo(c *Call, in remoteRegistryInput) (registryInfo, error) {
	info := registryInfo{
		Type: "harbor", SupportsByChunk: true, Triggers: []string{"manual", "scheduled"},
		Filters: []filterStyle{
			{Type: "name", Style: "input"}, {Type: "tag", Style: "input"}, {Type: "platform", Style: "input"},
		},
	}
	if in.ID != 0 {
		row, err := a.remoteRegistry(c, in.ID)
		if err != nil {
			return registryInfo{}, err
		}
		info.Type = row.Kind
	} else {
		info.Triggers = append(info.Triggers, "event_based")
	}
	if info.Type == "harbor" {
		info.Filters = append(info.Filters, filterStyle{Type: "label", Style: "input"}, filterStyle{Type: "resource", Style: "radio", Values: []string{"image", "artifact"}})
	}
	return info, nil
}

func (a *API) listRegistryProviderTypes(*Call, struct{}) ([]string, error) {
	names := []string{}
	for _, kind := range adapter.Kinds() {
		names = append(names, kind.Name)
	}
	return names, nil
}

// endpoint is an address of a kind of registry.
type endpoint struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// providerInfo tells where registries of a kind are and how one logs in.
type providerInfo struct {
	Endpoints struct {
		Type      string     `json:"endpoint_type"`
		Endpoints []endpoint `json:"endpoints"`
	} `json:"endpoint_pattern"`
	Credential struct {
		KeyType    string `json:"access_key_type"`
		Key        string `json:"access_key_data"`
		SecretType string `json:"access_secret_type"`
		Secret     string `json:"access_secret_data"`
	} `json:"credential_pattern"`
}

func (a *API) listRegistryProviderInfos(*Call, struct{}) (map[string]providerInfo, error) {
	infos := map[string]providerInfo{}
	for _, kind := range adapter.Kinds() {
		var info providerInfo
		info.Endpoints.Type, info.Endpoints.Endpoints = "EndpointPatternTypeStandard", []endpoint{}
		for _, known := range kind.Endpoints {
			info.Endpoints.Endpoints = append(info.Endpoints.Endpoints, endpoint{known.Name, known.URL})
		}
		switch len(kind.Endpoints) {
		case 0:
		case 1:
			info.Endpoints.Type = "EndpointPatternTypeFix"
		default:
			info.Endpoints.Type = "EndpointPatternTypeList"
		}
		info.Credential.KeyType, info.Credential.SecretType = "AccessKeyTypeStandard", "AccessSecretTypeStandard"
		if kind.Username != "" {
			info.Credential.KeyType, info.Credential.Key = "AccessKeyTypeFix", kind.Username
		}
		if kind.SecretFile {
			info.Credential.SecretType = "AccessSecretTypeFile"
		}
		infos[kind.Name] = info
	}
	return infos, nil
}
