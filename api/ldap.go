package api

import (
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) ldapRoutes() []Route {
	return []Route{
		define(Route{
			ID: "pingLdap", Tag: "Ldap", Method: http.MethodPost, Path: "/ldap/ping", Summary: "Tries to reach the directory, as it is configured or by the body",
			Permission: inSystem("configuration", policy.Update), Statuses: []int{400, 401, 403, 500},
		}, a.pingLDAP),
		define(Route{
			ID: "searchLdapUser", Tag: "Ldap", Method: http.MethodGet, Path: "/ldap/users/search", Summary: "Finds people of the directory by a part of their name",
			Permission: inSystem("ldap-user", policy.List), Statuses: []int{400, 401, 403, 500, 503},
		}, a.searchLDAPUsers),
		define(Route{
			ID: "importLdapUser", Tag: "Ldap", Method: http.MethodPost, Path: "/ldap/users/import", Summary: "Makes users of people of the directory",
			Permission: inSystem("ldap-user", policy.Create), Statuses: []int{400, 401, 403, 404, 500, 503},
		}, a.importLDAPUsers),
		define(Route{
			ID: "searchLdapGroup", Tag: "Ldap", Method: http.MethodGet, Path: "/ldap/groups/search", Summary: "Finds groups of the directory by a part of their name",
			Permission: inSystem("ldap-user", policy.List), Statuses: []int{400, 401, 403, 500, 503},
		}, a.searchLDAPGroups),
	}
}

// ldapConfiguration is the body of pingLdap.
type ldapConfiguration struct {
	URL        string `json:"ldap_url"`
	BaseDN     string `json:"ldap_base_dn"`
	Filter     string `json:"ldap_filter"`
	UID        string `json:"ldap_uid"`
	Scope      int    `json:"ldap_scope"`
	SearchDN   string `json:"ldap_search_dn"`
	Password   string `json:"ldap_search_password,omitempty"`
	Timeout    int    `json:"ldap_connection_timeout" doc:"seconds"`
	VerifyCert *bool  `json:"ldap_verify_cert,omitempty"`
}

// pinged says whether the directory was reached.
type pinged struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

func (a *API) pingLDAP(c *Call, in struct {
	Configuration *ldapConfiguration `body:"optional"`
},
) (pinged, error) {
	var err error
	if given := in.Configuration; given == nil {
		err = a.options.LDAP.Ping(c.Context())
	} else {
		err = a.options.LDAP.PingWith(c.Context(), ldap.Probe{
			URL: given.URL, BaseDN: given.BaseDN, Filter: given.Filter, UID: given.UID, Scope: given.Scope, SearchDN: given.SearchDN,
			SearchPassword: given.Password, Timeout: time.Duration(given.Timeout) * time.Second, VerifyCert: given.VerifyCert == nil || *given.VerifyCert,
		})
	}
	if refusal, ok := errors.AsType[*fault.Error](err); ok && refusal.Kind == fault.Invalid {
		return pinged{Message: refusal.Message}, nil
	}
	return pinged{Success: err == nil}, err
}

// ldapUser is somebody in the directory.
type ldapUser struct {
	Name     string `json:"username"`
	RealName string `json:"realname"`
	Email    string `json:"email"`
}

func (a *API) searchLDAPUsers(c *Call, in struct {
	Name string `query:"username" doc:"part of the name"`
},
) ([]ldapUser, error) {
	people, err := a.options.LDAP.Users(c.Context(), in.Name)
	users := make([]ldapUser, 0, len(people))
	for _, person := range people {
		users = append(users, ldapUser{Name: person.Name, RealName: person.RealName, Email: person.Email})
	}
	return users, err
}

func (a *API) searchLDAPGroups(c *Call, in struct {
	Name string `query:"groupname" doc:"part of the name"`
	DN   string `query:"groupdn" doc:"distinguished name of the one group"`
},
) ([]userGroup, error) {
	found, err := a.options.LDAP.Groups(c.Context(), in.Name, in.DN)
	groups := make([]userGroup, 0, len(found))
	for _, group := range found {
		groups = append(groups, userGroup{Name: group.Name, Kind: metadata.GroupLDAP, DN: group.DN})
	}
	return groups, err
}

// maxImported is how many people one request may import.
const maxImported = 100

// ldapImport is the body of importLdapUser.
type ldapImport struct {
	Names []string `json:"ldap_uid_list" maxItems:"100"`
}

// notImported is somebody whom an import could not make a user of.
type notImported struct {
	Name string `json:"uid"`
	Why  string `json:"error"`
}

// imported is the answer to an import: status 200 when all were imported, else 404 with those who were not.
type imported []notImported

func (i imported) write(c *Call) {
	if len(i) == 0 {
		c.writer.WriteHeader(http.StatusOK)
		return
	}
	writeJSON(c.writer, http.StatusNotFound, []notImported(i))
}

func (imported) describe() (int, string, reflect.Type) { return http.StatusOK, "", nil }

func (a *API) importLDAPUsers(c *Call, in struct {
	People ldapImport `body:""`
},
) (imported, error) {
	if len(in.People.Names) == 0 || len(in.People.Names) > maxImported {
		return nil, fault.New(fault.Invalid, "ldap_uid_list must have 1 to %d names", maxImported)
	}
	var failed imported
	for _, name := range in.People.Names {
		_, err := a.options.LDAP.Import(c.Context(), c.actor(), name)
		refusal, refused := errors.AsType[*fault.Error](err)
		switch {
		case err == nil:
		case !refused, refusal.Kind == fault.Unavailable, len(in.People.Names) == 1 && refusal.Kind == fault.Invalid:
			return nil, err
		default:
			failed = append(failed, notImported{Name: name, Why: refusal.Message})
		}
	}
	return failed, nil
}
