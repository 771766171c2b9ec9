package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// session is one client's view of a gateway: its own directory, credentials and the name of its repository.
type session struct {
	*testing.T
	gateway        *harness.Gateway
	directory      string
	user, password string
	environ        []string
}

// TestClients_pushAndPull has every client push over verified TLS, pull again, and compare digests.
func TestClients_pushAndPull(t *testing.T) {
	clients := map[string]func(*session){
		"docker":     dockerClient,
		"containerd": containerdClient,
		"podman":     podmanClient,
		"skopeo":     skopeoClient,
		"crane":      craneClient,
		"oras":       orasClient,
		"regctl":     regctlClient,
		"helm":       helmClient,
		"cosign":     cosignClient,
	}
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		gateway := harness.Start(t, stack)
		gateway.AddUser("clara", "clara-S3cret-of-hers")
		gateway.SetMember("library", "clara", "developer")
		for name, client := range clients {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				directory := shortDirectory(t)
				client(&session{
					T: t, gateway: gateway, directory: directory, user: "clara", password: "clara-S3cret-of-hers",
					environ: []string{"HOME=" + directory, "XDG_RUNTIME_DIR=" + directory, "DOCKER_CONFIG=" + filepath.Join(directory, "docker")},
				})
			})
		}
	})
}

// shortDirectory is a directory whose path leaves room for the names of Unix sockets.
func shortDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "e2e")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(directory)) })
	return directory
}

// run runs a tool to its end and returns what it said.
func (s *session) run(tool string, arguments ...string) string {
	s.Helper()
	return s.runWith("", tool, arguments...)
}

// runWith is run with a standard input.
func (s *session) runWith(stdin, tool string, arguments ...string) string {
	s.Helper()
	said, err := harness.Run(s.Context(), s.environ, stdin, harness.Tool(s.T, tool), arguments...)
	require.NoError(s, err)
	return said
}

// fails runs a tool that has to fail, and returns what it complained of.
func (s *session) fails(tool string, arguments ...string) string {
	s.Helper()
	_, err := harness.Run(s.Context(), s.environ, "", harness.Tool(s.T, tool), arguments...)
	require.Error(s, err, "%s %s", tool, strings.Join(arguments, " "))
	return err.Error()
}

// path is a path in the session's directory.
func (s *session) path(elements ...string) string {
	return filepath.Join(append([]string{s.directory}, elements...)...)
}

// reference is a reference in the client's own repository.
func (s *session) reference(repository, tag string) string {
	return s.gateway.Host() + "/library/" + repository + ":" + tag
}

// served is the digest under which the registry itself serves a tag.
func (s *session) served(repository, tag string) string {
	s.Helper()
	manifest, err := s.gateway.As(s.user, s.password).Manifest(s.Context(), "library/"+repository, tag)
	require.NoError(s, err)
	return harness.Describe("", manifest).Digest
}

// certificates is a directory as docker and podman want it: HOST:PORT/ca.crt.
func (s *session) certificates(root string) string {
	s.Helper()
	directory := filepath.Join(root, s.gateway.Host())
	require.NoError(s, os.MkdirAll(directory, 0o755))
	ca, err := os.ReadFile(s.gateway.CA())
	require.NoError(s, err)
	require.NoError(s, os.WriteFile(filepath.Join(directory, "ca.crt"), ca, 0o600))
	return directory
}

// distrust is a directory without certificates, in place of the system's, which hold the one that docker is given.
func (s *session) distrust() string {
	s.Helper()
	directory := s.path("empty")
	require.NoError(s, os.MkdirAll(directory, 0o700))
	return directory
}

var sha256Pattern = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

func podmanClient(s *session) {
	storage := s.path("storage.conf")
	require.NoError(s, os.WriteFile(storage, []byte("[storage]\ndriver = \"vfs\"\ngraphroot = \""+s.path("graph")+"\"\nrunroot = \""+s.path("run")+"\"\n"), 0o600))
	s.environ = append(s.environ, "CONTAINERS_STORAGE_CONF="+storage, "REGISTRY_AUTH_FILE="+s.path("auth.json"))
	reference, trust := s.reference("podman", "v1"), "--cert-dir="+s.certificates(s.path("certs.d"))

	require.Contains(s, s.fails("podman", "login", "--cert-dir="+s.distrust(), "-u", s.user, "-p", s.password, s.gateway.Host()), "x509")
	s.run("podman", "login", trust, "-u", s.user, "-p", s.password, s.gateway.Host())
	s.run("podman", "import", rootfs(s.T), reference)
	s.run("podman", "push", trust, "--digestfile", s.path("digest"), reference)
	pushed, err := os.ReadFile(s.path("digest"))
	require.NoError(s, err)
	require.Equal(s, s.served("podman", "v1"), strings.TrimSpace(string(pushed)))
	id := s.run("podman", "image", "inspect", "--format", "{{.Id}}", reference)
	s.run("podman", "rmi", reference)
	s.run("podman", "pull", trust, reference)
	require.Equal(s, id, s.run("podman", "image", "inspect", "--format", "{{.Id}}", reference))
	require.Equal(s, string(pushed), strings.TrimSpace(s.run("podman", "image", "inspect", "--format", "{{.Digest}}", reference)))
}

func skopeoClient(s *session) {
	certificates := s.certificates(s.path("certs.d"))
	pushed := layout(s.T, s.path("pushed"), "v1")
	reference, credentials := "docker://"+s.reference("skopeo", "v1"), s.user+":"+s.password
	require.Contains(s, s.fails("skopeo", "--insecure-policy", "copy", "--dest-cert-dir", s.distrust(), "--dest-creds", credentials, "oci:"+s.path("pushed")+":v1", reference), "x509")
	s.run("skopeo", "--insecure-policy", "copy", "--dest-creds", credentials, "--dest-cert-dir", certificates, "oci:"+s.path("pushed")+":v1", reference)
	require.Equal(s, pushed, s.served("skopeo", "v1"))
	require.Equal(s, pushed, strings.TrimSpace(s.run("skopeo", "inspect", "--creds", credentials, "--cert-dir", certificates, "--format", "{{.Digest}}", reference)))
	s.run("skopeo", "--insecure-policy", "copy", "--src-creds", credentials, "--src-cert-dir", certificates, reference, "oci:"+s.path("pulled")+":v1")
	require.Equal(s, pushed, digestInLayout(s.T, s.path("pulled")))
	// From one repository to another: the layers are mounted.
	s.run("skopeo", "--insecure-policy", "copy", "--src-creds", credentials, "--src-cert-dir", certificates, "--dest-creds", credentials,
		"--dest-cert-dir", certificates, reference, "docker://"+s.reference("skopeo-copy", "v1"))
	require.Equal(s, pushed, s.served("skopeo-copy", "v1"))
	require.JSONEq(s, `["v1"]`, tagsIn(s, s.run("skopeo", "list-tags", "--creds", credentials, "--cert-dir", certificates, "docker://"+s.gateway.Host()+"/library/skopeo")))
}

func tagsIn(s *session, listing string) string {
	s.Helper()
	var list struct{ Tags []string }
	require.NoError(s, json.Unmarshal([]byte(listing), &list))
	tags, err := json.Marshal(list.Tags)
	require.NoError(s, err)
	return string(tags)
}

func craneClient(s *session) {
	reference := s.reference("crane", "v1")
	require.NoError(s, os.MkdirAll(s.path("docker"), 0o700))
	s.run("crane", "auth", "login", s.gateway.Host(), "-u", s.user, "-p", s.password)
	require.Contains(s, s.fails("crane", "append", "--new_layer", rootfs(s.T), "--new_tag", reference), "x509")
	s.environ = append(s.environ, "SSL_CERT_FILE="+s.gateway.CA())
	pushed := sha256Pattern.FindString(s.run("crane", "append", "--oci-empty-base", "--new_layer", rootfs(s.T), "--new_tag", reference))
	require.Equal(s, s.served("crane", "v1"), pushed)
	require.Equal(s, pushed, strings.TrimSpace(s.run("crane", "digest", reference)))
	s.run("crane", "pull", "--format=oci", reference, s.path("pulled"))
	require.Equal(s, pushed, digestInLayout(s.T, s.path("pulled")))
	s.run("crane", "validate", "--remote", reference)
	s.run("crane", "copy", reference, s.reference("crane-copy", "v1"))
	require.Equal(s, pushed, s.served("crane-copy", "v1"))
	require.Equal(s, "v1\n", s.run("crane", "ls", s.gateway.Host()+"/library/crane"))
}

func orasClient(s *session) {
	reference := s.reference("oras", "v1")
	// oras speaks plain HTTP to localhost unless told not to.
	common := []string{"--ca-file", s.gateway.CA(), "--registry-config", s.path("oras.json"), "--plain-http=false"}
	require.Contains(s, s.fails("oras", "login", "--plain-http=false", "--registry-config", s.path("oras.json"), "-u", s.user, "-p", s.password, s.gateway.Host()), "x509")
	s.run("oras", append([]string{"login", "-u", s.user, "-p", s.password, s.gateway.Host()}, common...)...)
	content := writeContent(s.T, s.path("cargo.bin"), 3<<20)
	// oras wants relative paths, and the working directory is everybody's.
	here := func(arguments ...string) string {
		return s.run("env", append(append([]string{"-C", s.directory, harness.Tool(s.T, "oras")}, arguments...), common...)...)
	}
	said := here("push", reference, "cargo.bin:application/x-cargo")
	require.Contains(s, said, s.served("oras", "v1"))
	s.run("oras", append([]string{"pull", reference, "-o", s.path("pulled")}, common...)...)
	requireContent(s.T, content, s.path("pulled", "cargo.bin"))
	here("attach", reference, "--artifact-type", "application/x-note", "cargo.bin:text/plain")
	require.Contains(s, s.run("oras", append([]string{"discover", reference, "--format", "json"}, common...)...), "application/x-note")
}

func regctlClient(s *session) {
	reference := s.reference("regctl", "v1")
	s.environ = append(s.environ, "REGCTL_CONFIG="+s.path("regctl.json"))
	ca, err := os.ReadFile(s.gateway.CA())
	require.NoError(s, err)
	s.run("regctl", "registry", "set", "--skip-check", s.gateway.Host(), "--cacert", string(ca))
	s.runWith(s.password, "regctl", "registry", "login", s.gateway.Host(), "-u", s.user, "--pass-stdin")
	pushed := layout(s.T, s.path("pushed"), "v1")
	s.run("regctl", "image", "copy", "ocidir://"+s.path("pushed")+":v1", reference)
	require.Equal(s, pushed, s.served("regctl", "v1"))
	require.Equal(s, pushed, strings.TrimSpace(s.run("regctl", "image", "digest", reference)))
	s.run("regctl", "image", "copy", reference, "ocidir://"+s.path("pulled")+":v1")
	require.Equal(s, pushed, digestInLayout(s.T, s.path("pulled")))
	s.runWith("a note", "regctl", "artifact", "put", "--artifact-type", "application/x-note", "--subject", reference)
	require.Contains(s, s.run("regctl", "artifact", "list", reference), "application/x-note")
}

func helmClient(s *session) {
	s.environ = append(s.environ, "HELM_REGISTRY_CONFIG="+s.path("helm.json"), "HELM_CACHE_HOME="+s.path("cache"), "HELM_CONFIG_HOME="+s.path("config"), "HELM_DATA_HOME="+s.path("share"))
	require.Error(s, failure(s, "helm", "registry", "login", s.gateway.Host(), "-u", s.user, "-p", "wrong", "--ca-file", s.gateway.CA()))
	s.run("helm", "registry", "login", s.gateway.Host(), "-u", s.user, "-p", s.password, "--ca-file", s.gateway.CA())
	s.run("helm", "create", s.path("anchor"))
	s.run("helm", "package", s.path("anchor"), "-d", s.directory, "--version", "1.2.3")
	s.run("helm", "push", s.path("anchor-1.2.3.tgz"), "oci://"+s.gateway.Host()+"/library", "--ca-file", s.gateway.CA())
	require.NoError(s, os.Mkdir(s.path("pulled"), 0o700))
	s.run("helm", "pull", "oci://"+s.gateway.Host()+"/library/anchor", "--version", "1.2.3", "-d", s.path("pulled"), "--ca-file", s.gateway.CA())
	pushed, err := os.ReadFile(s.path("anchor-1.2.3.tgz"))
	require.NoError(s, err)
	requireContent(s.T, harness.Describe("", pushed).Digest, s.path("pulled", "anchor-1.2.3.tgz"))
	requireChart(s)
}

func failure(s *session, tool string, arguments ...string) error {
	_, err := harness.Run(s.Context(), s.environ, "", harness.Tool(s.T, tool), arguments...)
	return err
}

func cosignClient(s *session) {
	s.environ = append(s.environ, "SSL_CERT_FILE="+s.gateway.CA(), "COSIGN_PASSWORD=of-the-key", "COSIGN_YES=true")
	require.NoError(s, os.MkdirAll(s.path("docker"), 0o700))
	s.run("crane", "auth", "login", s.gateway.Host(), "-u", s.user, "-p", s.password)
	pushed := sha256Pattern.FindString(s.run("crane", "append", "--oci-empty-base", "--new_layer", rootfs(s.T), "--new_tag", s.reference("cosign", "v1")))
	reference := s.gateway.Host() + "/library/cosign@" + pushed
	s.run("cosign", "generate-key-pair", "--output-key-prefix", s.path("key"))
	require.Error(s, failure(s, "cosign", "verify", "--key", s.path("key.pub"), "--insecure-ignore-tlog=true", reference))
	s.run("cosign", "sign", "--key", s.path("key.key"), "--tlog-upload=false", "--use-signing-config=false", reference)
	require.Contains(s, s.run("cosign", "verify", "--key", s.path("key.pub"), "--insecure-ignore-tlog=true", reference), pushed)
	predicate := s.path("predicate.json")
	require.NoError(s, os.WriteFile(predicate, []byte(`{"cargo":"checked"}`), 0o600))
	s.run("cosign", "attest", "--key", s.path("key.key"), "--tlog-upload=false", "--use-signing-config=false", "--type", "https://example.org/cargo", "--predicate", predicate, reference)
	s.run("cosign", "verify-attestation", "--key", s.path("key.pub"), "--insecure-ignore-tlog=true", "--type", "https://example.org/cargo", reference)
	s.run("cosign", "attach", "sbom", "--sbom", predicate, reference)
	requireSigned(s, pushed)
}
