package distribution

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

// proven is the action of a route that asks no more than that the caller is proven.
const proven policy.Action = "proven"

// route is one operation of the API and the action that its caller must be allowed.
type route struct {
	name   string
	kind   kind
	method string
	action policy.Action
	serve  func(*exchange) error
}

// routes are all operations. A HEAD is served by its GET.
var routes = []route{
	{"base", kindBase, http.MethodGet, proven, (*exchange).base},
	{"catalog", kindCatalog, http.MethodGet, policy.List, (*exchange).catalog},
	{"tags_list", kindTags, http.MethodGet, policy.Pull, (*exchange).listTags},
	{"referrers_list", kindReferrers, http.MethodGet, policy.Pull, (*exchange).listReferrers},
	{"manifest_get", kindManifest, http.MethodGet, policy.Pull, (*exchange).getManifest},
	{"manifest_put", kindManifest, http.MethodPut, policy.Push, (*exchange).putManifest},
	{"manifest_delete", kindManifest, http.MethodDelete, policy.Delete, (*exchange).deleteManifest},
	{"blob_get", kindBlob, http.MethodGet, policy.Pull, (*exchange).getBlob},
	{"blob_delete", kindBlob, http.MethodDelete, policy.Delete, (*exchange).deleteBlob},
	{"upload_start", kindUploads, http.MethodPost, policy.Push, (*exchange).startUpload},
	{"upload_status", kindUpload, http.MethodGet, policy.Push, (*exchange).uploadStatus},
	{"upload_append", kindUpload, http.MethodPatch, policy.Push, (*exchange).appendUpload},
	{"upload_finish", kindUpload, http.MethodPut, policy.Push, (*exchange).finishUpload},
	{"upload_cancel", kindUpload, http.MethodDelete, policy.Push, (*exchange).cancelUpload},
}

// needs returns what the caller must be allowed, and what would help: a mount can do without its source.
func (r *route) needs(x *exchange) (needs, wishes []Need) {
	if r.action == proven {
		return nil, nil
	}
	needs = []Need{{x.repository, r.action}}
	if r.kind == kindUploads {
		query := x.r.URL.Query()
		if from, err := oci.ParseRepository(query.Get("from")); query.Has("mount") && err == nil && from != x.repository {
			wishes = []Need{{from, policy.Pull}}
		}
	}
	return needs, wishes
}

// table finds routes by kind and method.
type table map[kind]map[string]*route

func newTable(routes []route) table {
	t := make(table)
	for i := range routes {
		r := &routes[i]
		if r.action == "" {
			panic(fmt.Sprintf("route %s declares no action", r.name))
		}
		if t[r.kind] == nil {
			t[r.kind] = make(map[string]*route)
		}
		t[r.kind][r.method] = r
		if r.method == http.MethodGet {
			t[r.kind][http.MethodHead] = r
		}
	}
	return t
}

// find returns the route, or nil and the methods that the kind knows.
func (t table) find(k kind, method string) (*route, []string) {
	if r, ok := t[k][method]; ok {
		return r, nil
	}
	allowed := make([]string, 0, len(t[k]))
	for m := range t[k] {
		allowed = append(allowed, m)
	}
	slices.Sort(allowed)
	return nil, allowed
}
