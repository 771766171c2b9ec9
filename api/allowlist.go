package api

import (
	"net/http"

	"github.com/berth-registry/berth/policy"
)

func (a *API) allowlistRoutes() []Route {
	const path = "/system/CVEAllowlist"
	return []Route{
		define(Route{
			ID: "getSystemCVEAllowlist", Tag: "SystemCVEAllowlist", Method: http.MethodGet, Path: path,
			Summary:    "Returns the vulnerabilities that are let through in projects without a list of their own",
			Permission: inSystem("cve-allowlist", policy.Read), Statuses: []int{401, 500},
		}, a.getSystemAllowlist),
		define(Route{
			ID: "putSystemCVEAllowlist", Tag: "SystemCVEAllowlist", Method: http.MethodPut, Path: path, Summary: "Sets that list",
			Permission: inSystem("cve-allowlist", policy.Update), Statuses: []int{400, 401, 403, 500},
		}, a.putSystemAllowlist),
	}
}

func (a *API) getSystemAllowlist(c *Call, _ struct{}) (cveAllowlist, error) {
	list, err := a.options.Store.RegistryAllowlist(c.Context())
	return viewAllowlist(list), err
}

func (a *API) putSystemAllowlist(c *Call, in struct {
	Body allowlistBody `body:""`
},
) (None, error) {
	return None{}, a.options.Projects.SetRegistryAllowlist(c.Context(), c.actor(), *in.Body.list())
}
