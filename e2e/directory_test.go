package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
)

// TestDirectory_groupsPush has people of a company's directory push and pull by the role of a group that their group is in.
func TestDirectory_groupsPush(t *testing.T) {
	directory := ldaptest.Start(t)
	ca := filepath.Join(t.TempDir(), "directory-ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte(directory.CA), 0o600))
	stack := harness.Directory(t)
	stack.Environ = append(stack.Environ, "E2E_LDAP_PASSWORD="+ldaptest.ReaderPassword)
	stack.Block += fmt.Sprintf(`
auth ldap {
	url %s
	base_dn %q
	uid uid
	search_dn %q
	search_password {env.E2E_LDAP_PASSWORD}
	timeout 2
	group_base_dn %q
	group_admin_dn %q
	ca_file %s
	nested_groups on
}
settings {
	auth_mode ldap_auth
}`, directory.TLSURL, ldaptest.BaseDN, ldaptest.ReaderDN, ldaptest.GroupBaseDN, ldaptest.AdminDN, ca)
	gateway := harness.Start(t, stack)
	gateway.AddUser("dora", "dora-S3cret-of-hers")
	gateway.AddProject("engines", false)
	_, err := gateway.CommandWith("", "member", "add", "engines", "cn=engineering,ou=groups,dc=example,dc=org", "developer", "--group", "ldap")
	require.NoError(t, err)

	clients := map[string]*session{}
	for _, name := range []string{"alice", "bob", "carol", "root"} {
		home := shortDirectory(t)
		clients[name] = &session{
			T: t, gateway: gateway, directory: home, user: name, password: ldaptest.Password(name), environ: []string{"HOME=" + home},
		}
	}
	reference := "docker://" + gateway.Host() + "/engines/motor:v1"
	alice, bob, carol := clients["alice"], clients["bob"], clients["carol"]
	certificates := alice.certificates(alice.path("certs.d"))
	pushed := layout(t, alice.path("image"), "v1")
	push := []string{"--insecure-policy", "copy", "--dest-cert-dir", certificates, "--dest-creds"}
	image := "oci:" + alice.path("image") + ":v1"
	require.Contains(t, alice.fails("skopeo", append(push, "alice:Wrong-horse1", image, reference)...), "wrong user name or password")
	alice.run("skopeo", append(push, "alice:"+alice.password, image, reference)...)
	inspect := func(s *session) []string {
		return []string{"inspect", "--cert-dir", certificates, "--creds", s.user + ":" + s.password, "--format", "{{.Digest}}", reference}
	}
	require.Equal(t, pushed, strings.TrimSpace(bob.run("skopeo", inspect(bob)...)))
	carol.fails("skopeo", inspect(carol)...)
	carol.fails("skopeo", append(push, "carol:"+carol.password, image, reference)...)
	alice.startDocker()
	alice.dockerPush("engines/docker")
	carol.environ = append(carol.environ, alice.environ[len(alice.environ)-1]) // the same daemon
	carol.runWith(carol.password, "docker", "login", gateway.Host(), "-u", "carol", "--password-stdin")
	carol.fails("docker", "pull", gateway.Host()+"/engines/docker:v1")

	// The group of the administrators makes one.
	root := gateway.As("root", clients["root"].password)
	api(t, root, http.MethodGet, "/api/v2.0/users", "", http.StatusOK)
	api(t, gateway.As("alice", alice.password), http.MethodGet, "/api/v2.0/users", "", http.StatusForbidden)

	// The directory goes away: who is known goes on, local users too, and others are told within the timeout.
	token, err := gateway.As("bob", bob.password).Token(t.Context(), "repository:engines/motor:pull")
	require.NoError(t, err)
	gateway.Stop()
	directory.Stop()
	gateway.Launch()
	_, err = gateway.As("bob", "").WithToken(token).Manifest(t.Context(), "engines/motor", "v1")
	require.NoError(t, err)
	api(t, gateway.As("dora", "dora-S3cret-of-hers"), http.MethodGet, "/api/v2.0/users/current", "", http.StatusOK)
	began := time.Now()
	require.Contains(t, alice.fails("skopeo", "login", "--cert-dir", certificates, "-u", "alice", "-p", alice.password, gateway.Host()), "503")
	_, err = gateway.As("alice", alice.password).Token(t.Context())
	require.ErrorContains(t, err, "the directory (LDAP) does not answer")
	require.Less(t, time.Since(began), 10*time.Second)
	directory.Restart(t)
	alice.run("skopeo", "login", "--cert-dir", certificates, "-u", "alice", "-p", alice.password, gateway.Host())

	configurations := api(t, root, http.MethodGet, "/api/v2.0/configurations", "", http.StatusOK)
	for _, text := range []string{gateway.Process().Log(), configurations} {
		require.NotContains(t, text, ldaptest.ReaderPassword)
		require.NotContains(t, text, "Secret-of-")
		require.NotContains(t, text, "Wrong-horse1")
	}
}

// api sends a request of the management API and returns the body of the answer.
func api(t *testing.T, client *harness.Client, method, path, body string, expected int) string {
	t.Helper()
	response, err := client.Do(t.Context(), method, path, http.Header{"Content-Type": {"application/json"}}, strings.NewReader(body), expected)
	require.NoError(t, err)
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(said)
}
