package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// caller is somebody with a place, or none, in the projects of the matrix.
type caller struct {
	name string
	// role is the membership in both projects, "" for none.
	role string
	// private and public are what they may in such a project, in letters: R pull, W push, D delete, S search.
	private string
	public  string
}

const callerPassword = "passw0rd-of-a-Caller"

var callers = []caller{
	{name: "", private: "", public: "RS"},
	{name: "stranger", private: "", public: "RS"},
	{name: "limited", role: "limitedGuest", private: "RS", public: "RS"},
	{name: "guest", role: "guest", private: "RS", public: "RS"},
	{name: "developer", role: "developer", private: "RWS", public: "RWS"},
	{name: "maintainer", role: "maintainer", private: "DRWS", public: "DRWS"},
	{name: "owner", role: "projectAdmin", private: "DRWS", public: "DRWS"},
	{name: "admin", private: "DRWS", public: "DRWS"},
}

// route is one request of the distribution API within a repository. What it needs stands as a letter; prepare makes what it is
// about to use up and returns the path, header and body.
type route struct {
	name    string
	method  string
	needs   byte
	scope   string
	prepare preparation
	status  int
}

type preparation = func(*testing.T, *harness.Client, string, harness.Image) (string, http.Header, []byte)

func ofManifest(path string) preparation {
	return func(_ *testing.T, _ *harness.Client, repository string, image harness.Image) (string, http.Header, []byte) {
		return "/v2/" + repository + path + image.Digest, nil, nil
	}
}

func ofBlob(path string) preparation {
	return func(_ *testing.T, _ *harness.Client, repository string, image harness.Image) (string, http.Header, []byte) {
		return "/v2/" + repository + path + harness.Describe("", image.Layers[0]).Digest, nil, nil
	}
}

func plain(path string) preparation {
	return func(_ *testing.T, _ *harness.Client, repository string, _ harness.Image) (string, http.Header, []byte) {
		return "/v2/" + repository + "/" + path, nil, nil
	}
}

var routes = []route{
	{"pull manifest by tag", http.MethodGet, 'R', "pull", plain("manifests/v1"), http.StatusOK},
	{"pull manifest by digest", http.MethodGet, 'R', "pull", ofManifest("/manifests/"), http.StatusOK},
	{"head manifest", http.MethodHead, 'R', "pull", ofManifest("/manifests/"), http.StatusOK},
	{"pull blob", http.MethodGet, 'R', "pull", ofBlob("/blobs/"), http.StatusOK},
	{"head blob", http.MethodHead, 'R', "pull", ofBlob("/blobs/"), http.StatusOK},
	{"list tags", http.MethodGet, 'R', "pull", plain("tags/list"), http.StatusOK},
	{"list referrers", http.MethodGet, 'R', "pull", ofManifest("/referrers/"), http.StatusOK},
	{"start upload", http.MethodPost, 'W', "pull,push", plain("blobs/uploads/"), http.StatusAccepted},
	{"upload status", http.MethodGet, 'W', "pull,push", anUpload, http.StatusNoContent},
	{"add to upload", http.MethodPatch, 'W', "pull,push", anUpload, http.StatusAccepted},
	{"finish upload", http.MethodPut, 'W', "pull,push", aFinishedUpload, http.StatusCreated},
	{"cancel upload", http.MethodDelete, 'W', "pull,push", anUpload, http.StatusNoContent},
	{"push manifest", http.MethodPut, 'W', "pull,push", aManifest, http.StatusCreated},
	{"delete tag", http.MethodDelete, 'D', "delete", aTag, http.StatusAccepted},
	{"delete manifest", http.MethodDelete, 'D', "delete", anImage, http.StatusAccepted},
	{"delete blob", http.MethodDelete, 'D', "delete", aBlob, http.StatusAccepted},
}

func anUpload(t *testing.T, admin *harness.Client, repository string, _ harness.Image) (string, http.Header, []byte) {
	t.Helper()
	location, err := admin.StartUpload(t.Context(), repository)
	require.NoError(t, err)
	return location, http.Header{"Content-Type": {"application/octet-stream"}}, []byte("some bytes")
}

func aFinishedUpload(t *testing.T, admin *harness.Client, repository string, image harness.Image) (string, http.Header, []byte) {
	t.Helper()
	location, header, body := anUpload(t, admin, repository, image)
	return location + "?digest=" + harness.Describe("", body).Digest, header, body
}

func aManifest(_ *testing.T, _ *harness.Client, repository string, image harness.Image) (string, http.Header, []byte) {
	return "/v2/" + repository + "/manifests/pushed", http.Header{"Content-Type": {harness.MediaTypeManifest}}, image.Manifest
}

func aTag(t *testing.T, admin *harness.Client, repository string, image harness.Image) (string, http.Header, []byte) {
	t.Helper()
	require.NoError(t, admin.PutManifest(t.Context(), repository, "doomed", harness.MediaTypeManifest, image.Manifest))
	return "/v2/" + repository + "/manifests/doomed", nil, nil
}

func anImage(t *testing.T, admin *harness.Client, repository string, _ harness.Image) (string, http.Header, []byte) {
	t.Helper()
	doomed := harness.NewImage(31, 10)
	require.NoError(t, admin.Push(t.Context(), repository, doomed.Digest, doomed))
	return "/v2/" + repository + "/manifests/" + doomed.Digest, nil, nil
}

func aBlob(t *testing.T, admin *harness.Client, repository string, _ harness.Image) (string, http.Header, []byte) {
	t.Helper()
	doomed := []byte("a blob that nothing refers to")
	digest := harness.Describe("", doomed).Digest
	require.NoError(t, admin.PushBlob(t.Context(), repository, digest, int64(len(doomed)), bytes.NewReader(doomed)))
	return "/v2/" + repository + "/blobs/" + digest, nil, nil
}

// TestMatrix_everyCell asks for every route as everybody, with Basic and with a token, in a private and in a public project.
func TestMatrix_everyCell(t *testing.T) {
	gateway := harness.Start(t, harness.Directory(t))
	admin := gateway.Admin()
	image := harness.NewImage(30, 1000)
	for _, project := range []string{"hidden", "shown"} {
		gateway.AddProject(project, project == "shown")
		require.NoError(t, admin.Push(t.Context(), project+"/app", "v1", image))
	}
	for _, caller := range callers {
		if caller.name == "" || caller.name == "admin" {
			continue
		}
		gateway.AddUser(caller.name, callerPassword)
		if caller.role != "" {
			gateway.SetMember("hidden", caller.name, caller.role)
			gateway.SetMember("shown", caller.name, caller.role)
		}
	}
	cells := 0
	for _, caller := range callers {
		for _, project := range []string{"hidden", "shown"} {
			letters := caller.private
			if project == "shown" {
				letters = caller.public
			}
			for _, route := range routes {
				for _, credential := range []string{"basic", "token", "token for another repository"} {
					name := fmt.Sprintf("%s in %s: %s with %s", caller, project, route.name, credential)
					path, header, body := route.prepare(t, admin, project+"/app", image)
					client := as(t, gateway, caller, credential, project+"/app", route.scope)
					response, err := client.Do(t.Context(), route.method, path, header, bytes.NewReader(body))
					require.NoError(t, err, name)
					said, _ := io.ReadAll(response.Body)
					_ = response.Body.Close()
					cells++
					require.Equal(t, expected(caller, credential, letters, route), response.StatusCode, "%s\n%s", name, said)
					if response.StatusCode == http.StatusUnauthorized {
						require.Contains(t, response.Header.Get("Www-Authenticate"), `Bearer realm="`+gateway.URL()+`/service/token"`, name)
					}
					if credential == "token for another repository" {
						require.Contains(t, response.Header.Get("Www-Authenticate"), `error="insufficient_scope"`, name)
					}
				}
			}
		}
	}
	t.Logf("%d cells", cells)
}

// expected is the status of a cell. Who has not logged in is told to; who has and may not look learns nothing; who may look and
// not touch is told so.
func expected(c caller, credential, letters string, r route) int {
	switch {
	case credential == "token for another repository", c.name == "" && credential == "basic":
		return http.StatusUnauthorized
	case slices.Contains([]byte(letters), r.needs):
		return r.status
	case c.name == "":
		return http.StatusUnauthorized
	case r.needs == 'R':
		return http.StatusNotFound
	default:
		return http.StatusForbidden
	}
}

// String names the caller in messages.
func (c caller) String() string {
	if c.name == "" {
		return "anonymous"
	}
	return c.name
}

func (c caller) client(gateway *harness.Gateway) *harness.Client {
	switch c.name {
	case "":
		return gateway.Anonymous()
	case "admin":
		return gateway.Admin()
	}
	return gateway.As(c.name, callerPassword)
}

// as is the caller with a credential; anonymous "basic" is none at all.
func as(t *testing.T, gateway *harness.Gateway, c caller, credential, repository, scope string) *harness.Client {
	t.Helper()
	client := c.client(gateway)
	switch credential {
	case "basic":
		return client
	case "token for another repository":
		repository = "library/another"
	}
	token, err := client.Token(t.Context(), "repository:"+repository+":"+scope)
	require.NoError(t, err)
	return client.WithToken(token)
}

// staleness is how long the documentation says that a lost permission may still be honoured; see docs/tokens.md.
const staleness = 5 * time.Second

// TestMembers_lostRoleCountsWithinSeconds takes a role away from somebody who holds a token, on the gateway that is asked and on
// another one.
func TestMembers_lostRoleCountsWithinSeconds(t *testing.T) {
	stack := harness.Shared(t)
	gateways := []*harness.Gateway{harness.Start(t, stack), harness.Start(t, stack)}
	gateways[0].AddProject("fleeting", false)
	image := harness.NewImage(32, 100)
	require.NoError(t, gateways[0].Admin().Push(t.Context(), "fleeting/app", "v1", image))
	gateways[0].AddUser("leaver", callerPassword)
	gateways[0].SetMember("fleeting", "leaver", "developer")

	basic := gateways[0].As("leaver", callerPassword)
	token, err := basic.Token(t.Context(), "repository:fleeting/app:pull,push")
	require.NoError(t, err)
	holders := []*harness.Client{basic, basic.WithToken(token), basic.At(gateways[1]), basic.WithToken(token).At(gateways[1])}
	for _, holder := range holders {
		require.NoError(t, holder.CheckPull(t.Context(), "fleeting/app", "v1", image))
	}
	gateways[0].RemoveMember("fleeting", "leaver")
	lost := time.Now()
	for i, holder := range holders {
		require.Eventually(t, func() bool {
			_, err := holder.Manifest(t.Context(), "fleeting/app", "v1")
			status := harness.Status(err)
			return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound
		}, staleness-time.Since(lost)+time.Second, 50*time.Millisecond, "holder %d still pulls", i)
	}
	require.Less(t, time.Since(lost), staleness+time.Second)
	_, err = holders[1].StartUpload(t.Context(), "fleeting/app")
	require.Error(t, err)
}

// TestUsers_disabledOrNewPasswordEndsTokens ends what was issued before.
func TestUsers_disabledOrNewPasswordEndsTokens(t *testing.T) {
	gateway := harness.Start(t, harness.Directory(t))
	for name, end := range map[string]func(user string){
		"renewed":  func(user string) { gateway.SetPassword(user, "another-Passw0rd-of-hers") },
		"disabled": func(user string) { gateway.Disable(user) },
	} {
		gateway.AddUser(name, callerPassword)
		gateway.SetMember("library", name, "developer")
		basic := gateway.As(name, callerPassword)
		token, err := basic.Token(t.Context(), "repository:library/ended:pull,push")
		require.NoError(t, err)
		for _, holder := range []*harness.Client{basic, basic.WithToken(token)} {
			_, err = holder.StartUpload(t.Context(), "library/ended")
			require.NoError(t, err, name)
		}
		end(name)
		for _, holder := range []*harness.Client{basic, basic.WithToken(token)} {
			require.Eventually(t, func() bool {
				_, err := holder.StartUpload(t.Context(), "library/ended")
				return harness.Status(err) == http.StatusUnauthorized || harness.Status(err) == http.StatusForbidden
			}, staleness+time.Second, 50*time.Millisecond, name)
		}
	}
}
