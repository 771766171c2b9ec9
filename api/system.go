package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/health"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/setting"
	"github.com/berth-registry/berth/storage"
)

// System is what the API tells of the installation. Its zero value knows nothing.
type System struct {
	// Version is Berth's own.
	Version string
	// StorageName is the kind of storage: "filesystem", "s3".
	StorageName string
	// Volumes measures the room of the storage; nil where it has no end.
	Volumes storage.Volumes
	// Certificate returns the public certificate, in PEM, of the authority that clients have to trust, nil when it is one that they
	// know anyhow.
	Certificate func(r *http.Request) ([]byte, error)
	// Health asks the parts of the registry.
	Health *health.Health
}

// harborVersion is the version of Harbor whose API this is: clients decide by it what they may ask for. What comes after the first
// dash they take for the commit.
const harborVersion = "v2.15.0-berth"

// VersionPath is where clients ask for the version of the API, outside of [Prefix].
const VersionPath = "/api/version"

func (a *API) systemRoutes() []Route {
	return []Route{
		define(Route{
			ID: "getPing", Tag: "ping", Method: http.MethodGet, Path: "/ping", Summary: "Tells that the registry answers",
			Permission: inSystem("ping", policy.Read),
		}, func(*Call, struct{}) (Text, error) { return "Pong", nil }),
		define(Route{
			ID: "getHealth", Tag: "health", Method: http.MethodGet, Path: "/health", Summary: "Tells which parts of the registry work",
			Permission: inSystem("health", policy.Read), Statuses: []int{500},
		}, a.getHealth),
		define(Route{
			ID: "getSystemInfo", Tag: "systeminfo", Method: http.MethodGet, Path: "/systeminfo", Summary: "Tells what the registry is, more to those who have logged in",
			Permission: inSystem("system-info", policy.Read), Statuses: []int{500},
		}, a.getSystemInfo),
		define(Route{
			ID: "getVolumes", Tag: "systeminfo", Method: http.MethodGet, Path: "/systeminfo/volumes", Summary: "Tells how much room the storage has",
			Permission: inSystem("system-volumes", policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getVolumes),
		define(Route{
			ID: "getCert", Tag: "systeminfo", Method: http.MethodGet, Path: "/systeminfo/getcert", Summary: "Returns the certificate of the authority to trust",
			Produces:   []string{"application/octet-stream"},
			Permission: inSystem("system-info", policy.Read), Statuses: []int{404, 500},
		}, a.getCertificate),
		define(Route{
			ID: "getStatistic", Tag: "statistic", Method: http.MethodGet, Path: "/statistics", Summary: "Counts projects and repositories that the caller may see",
			Permission: inSystem("statistics", policy.Read), Statuses: []int{401, 500},
		}, a.getStatistic),
	}
}

// serveVersion tells the version of the API.
func serveVersion(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": "v2.0"})
}

// healthStatus is the health of all parts as clients read it.
type healthStatus struct {
	Status     string            `json:"status" doc:"healthy or unhealthy"`
	Components []componentStatus `json:"components"`
}

type componentStatus struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

const (
	healthy   = "healthy"
	unhealthy = "unhealthy"
)

func (a *API) getHealth(c *Call, _ struct{}) (healthStatus, error) {
	answer := healthStatus{Status: healthy, Components: []componentStatus{}}
	if a.options.System.Health == nil {
		return answer, nil
	}
	for _, component := range a.options.System.Health.Components(c.Context()) {
		told := componentStatus{Name: component.Name, Status: healthy}
		if component.Fault != nil {
			told.Status, told.Error = unhealthy, component.Fault.Error()
			answer.Status = unhealthy
		}
		answer.Components = append(answer.Components, told)
	}
	return answer, nil
}

// systemInfo is what the registry is. What only those read who have logged in is nil for others.
type systemInfo struct {
	AuthMode         string `json:"auth_mode"`
	PrimaryAuthMode  bool   `json:"primary_auth_mode"`
	SelfRegistration bool   `json:"self_registration"`
	BannerMessage    string `json:"banner_message"`
	OIDCProviderName string `json:"oidc_provider_name"`

	*SystemDetails
}

// SystemDetails are for callers who have logged in; exported as AccessToken is.
type SystemDetails struct {
	CurrentTime                Time   `json:"current_time" required:"false"`
	RegistryURL                string `json:"registry_url" required:"false" doc:"host and port, without a scheme"`
	ExternalURL                string `json:"external_url" required:"false"`
	HarborVersion              string `json:"harbor_version" required:"false" doc:"of the API that this is compatible with"`
	BerthVersion               string `json:"berth_version" required:"false"`
	ProjectCreationRestriction string `json:"project_creation_restriction" required:"false"`
	HasCARoot                  bool   `json:"has_ca_root" required:"false"`
	StorageProviderName        string `json:"registry_storage_provider_name" required:"false"`
	ReadOnly                   bool   `json:"read_only" required:"false"`
	NotificationEnable         bool   `json:"notification_enable" required:"false"`
}

func (a *API) getSystemInfo(c *Call, _ struct{}) (systemInfo, error) {
	values, err := a.options.Settings.Values(c.Context())
	if err != nil {
		return systemInfo{}, err
	}
	answer := systemInfo{
		AuthMode: values.Text(setting.AuthMode), PrimaryAuthMode: values.On(setting.PrimaryAuthMode),
		SelfRegistration: values.On(setting.SelfRegistration), BannerMessage: values.Text(setting.BannerMessage),
		OIDCProviderName: values.Text(setting.OIDCName),
	}
	if c.Principal.Kind == identity.KindAnonymous {
		return answer, nil
	}
	certificate, err := a.certificate(c.Request)
	if err != nil {
		return systemInfo{}, err
	}
	base := a.options.Base(c.Request)
	answer.SystemDetails = &SystemDetails{
		CurrentTime: Time(time.Now()), RegistryURL: base, ExternalURL: base, HarborVersion: harborVersion, BerthVersion: a.options.System.Version,
		ProjectCreationRestriction: values.Text(setting.ProjectCreationRestriction), HasCARoot: certificate != nil,
		StorageProviderName: a.options.System.StorageName, ReadOnly: values.On(setting.ReadOnly), NotificationEnable: values.On(setting.NotificationEnable),
	}
	if u, err := url.Parse(base); err == nil {
		answer.RegistryURL = u.Host
	}
	return answer, nil
}

func (a *API) certificate(r *http.Request) ([]byte, error) {
	if a.options.System.Certificate == nil {
		return nil, nil
	}
	return a.options.System.Certificate(r)
}

func (a *API) getCertificate(c *Call, _ struct{}) (Raw, error) {
	certificate, err := a.certificate(c.Request)
	if err != nil {
		return Raw{}, err
	}
	if certificate == nil {
		return Raw{}, fault.New(fault.NotFound, "this registry's certificate is not of its own authority")
	}
	c.Header().Set("Content-Disposition", `attachment; filename="ca.crt"`)
	return Raw{ContentType: "application/octet-stream", Body: certificate}, nil
}

// volumes is the room of the storage as clients read it.
type volumes struct {
	Storage []volume `json:"storage"`
}

type volume struct {
	Total uint64 `json:"total" doc:"bytes; what is stored where the storage has no end"`
	Free  uint64 `json:"free" doc:"bytes; 0 where the storage has no end"`
	Used  uint64 `json:"used" doc:"bytes of blobs"`
}

func (a *API) getVolumes(c *Call, _ struct{}) (volumes, error) {
	stored, err := a.options.Store.Stored(c.Context())
	if err != nil {
		return volumes{}, err
	}
	answer := volume{Total: uint64(stored), Used: uint64(stored)} //nolint:gosec // never negative
	if a.options.System.Volumes != nil {
		measured, err := a.options.System.Volumes.Volume(c.Context())
		if err != nil {
			return volumes{}, err
		}
		answer.Total, answer.Free = measured.Total, measured.Free
	}
	return volumes{[]volume{answer}}, nil
}

// statistic counts what the caller may see; the totals are for administrators, 0 for others.
type statistic struct {
	PrivateProjects     int64 `json:"private_project_count"`
	PrivateRepositories int64 `json:"private_repo_count"`
	PublicProjects      int64 `json:"public_project_count"`
	PublicRepositories  int64 `json:"public_repo_count"`
	TotalProjects       int64 `json:"total_project_count"`
	TotalRepositories   int64 `json:"total_repo_count"`
	TotalStorage        int64 `json:"total_storage_consumption" doc:"bytes that all projects hold by their quotas"`
}

func (a *API) getStatistic(c *Call, _ struct{}) (statistic, error) {
	view, err := c.view(policy.Read, "project")
	if err != nil {
		return statistic{}, err
	}
	counted, err := a.options.Store.Statistics(c.Context(), view)
	if err != nil {
		return statistic{}, err
	}
	answer := statistic{
		PrivateProjects: counted.PrivateProjects, PrivateRepositories: counted.PrivateRepositories,
		PublicProjects: counted.PublicProjects, PublicRepositories: counted.PublicRepositories,
	}
	if !view.All {
		return answer, nil
	}
	answer.TotalProjects = counted.PrivateProjects + counted.PublicProjects
	answer.TotalRepositories = counted.PrivateRepositories + counted.PublicRepositories
	answer.TotalStorage, err = a.options.Store.Used(c.Context())
	return answer, err
}

// errReadOnly is the answer to every change while the registry is in read-only mode.
var errReadOnly = &statusError{http.StatusForbidden, codeDenied, "the registry is in read-only mode: nothing can be changed until an administrator ends it"}

// readOnly reports whether nothing may be changed. While nobody can tell, the database cannot be written to either.
func (a *API) readOnly(ctx context.Context) bool {
	values, err := a.options.Settings.Values(ctx)
	return err == nil && values.On(setting.ReadOnly)
}
