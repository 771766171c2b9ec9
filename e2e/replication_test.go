package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// replicating is a gateway whose policies are made and executed.
type replicating struct {
	*testing.T
	gateway *harness.Gateway
}

// call sends JSON to the management API, requires the status, and returns the answer's Location and body.
func (r replicating) call(method, path string, status int, body, into any) (location string) {
	r.Helper()
	encoded, err := json.Marshal(body)
	require.NoError(r, err)
	header := http.Header{"Content-Type": {"application/json"}}
	response, err := r.gateway.Admin().Do(r.Context(), method, "/api/v2.0"+path, header, bytes.NewReader(encoded), status)
	require.NoError(r, err)
	defer response.Body.Close()
	if into != nil {
		require.NoError(r, json.NewDecoder(response.Body).Decode(into))
	}
	return response.Header.Get("Location")
}

func idOf(t *testing.T, location string) int64 {
	t.Helper()
	id, err := strconv.ParseInt(location[strings.LastIndexByte(location, '/')+1:], 10, 64)
	require.NoError(t, err, location)
	return id
}

// registry tells the gateway of a registry elsewhere.
func (r replicating) registry(name, kind, url string, other *harness.Gateway) map[string]any {
	r.Helper()
	wanted := map[string]any{"name": name, "type": kind, "url": url}
	if other != nil {
		ca, err := os.ReadFile(other.CA())
		require.NoError(r, err)
		wanted["ca_certificate"] = string(ca)
		wanted["credential"] = map[string]string{"type": "basic", "access_key": "admin", "access_secret": harness.AdminPassword}
	}
	return map[string]any{"id": idOf(r.T, r.call(http.MethodPost, "/registries", http.StatusCreated, wanted, nil))}
}

// policy makes a policy out of what is special about it.
func (r replicating) policy(name string, special map[string]any) int64 {
	r.Helper()
	wanted := map[string]any{"name": name, "enabled": true, "override": true, "trigger": map[string]any{"type": "manual"}}
	maps.Copy(wanted, special)
	return idOf(r.T, r.call(http.MethodPost, "/replication/policies", http.StatusCreated, wanted, nil))
}

func filter(kind string, value any) map[string]any {
	return map[string]any{"type": kind, "value": value}
}

// replicated is what the API tells of an execution, and of its tasks.
type replicated struct {
	ID         int64
	Status     string
	StatusText string `json:"status_text"`
	Total      int
	Succeed    int
	tasks      []replicatedTask
}

type replicatedTask struct {
	ID          int64
	Operation   string
	Destination string `json:"dst_resource"`
	Progress    struct {
		Copied, Present, Failed int
		Bytes                   int64
	}
}

func (e replicated) bytes() (sum int64) {
	for _, task := range e.tasks {
		sum += task.Progress.Bytes
	}
	return sum
}

// execute executes a policy and waits for its end.
func (r replicating) execute(policy int64) replicated {
	r.Helper()
	return r.await(idOf(r.T, r.call(http.MethodPost, "/replication/executions", http.StatusCreated, map[string]any{"policy_id": policy}, nil)), "Succeed")
}

func (r replicating) await(execution int64, status string) (found replicated) {
	r.Helper()
	path := fmt.Sprint("/replication/executions/", execution)
	require.Eventually(r, func() bool {
		found = replicated{}
		r.call(http.MethodGet, path, http.StatusOK, nil, &found)
		return found.Status != "InProgress"
	}, 5*time.Minute, 50*time.Millisecond)
	r.call(http.MethodGet, path+"/tasks?page_size=0", http.StatusOK, nil, &found.tasks)
	require.Equal(r, status, found.Status, "%s\n%s", found.StatusText, r.logs(found))
	return found
}

func (r replicating) logs(of replicated) string {
	r.Helper()
	var all strings.Builder
	for _, task := range of.tasks {
		response, err := r.gateway.Admin().Do(r.Context(), http.MethodGet, fmt.Sprintf("/api/v2.0/replication/executions/%d/tasks/%d/log", of.ID, task.ID), nil, nil, http.StatusOK)
		require.NoError(r, err)
		_, err = io.Copy(&all, response.Body)
		require.NoError(r, err)
		require.NoError(r, response.Body.Close())
	}
	return all.String()
}

// TestReplication has two Berths over TLS and the reference registry, and each way to replicate between them.
func TestReplication(t *testing.T) {
	near, far := harness.Start(t, harness.Directory(t)), harness.Start(t, harness.Directory(t))
	reference := "http://" + remotetest.Distribution(t)
	r := replicating{t, near}
	here, there := near.Admin(), far.Admin()
	toFar := r.registry("far", "harbor", far.URL(), far)
	toReference := r.registry("reference", "docker-registry", reference, nil)
	ctx := t.Context()
	has := func(client *harness.Client, repository, reference string) bool {
		_, err := client.Manifest(ctx, repository, reference)
		if err != nil {
			require.Contains(t, []int{http.StatusNotFound, http.StatusForbidden}, harness.Status(err), err)
		}
		return err == nil
	}

	t.Run("each shared layer moves once", func(t *testing.T) {
		r := replicating{t, near}
		images, unique := pushSharing(t, here, 4, 200, 10)
		policy := r.policy("shared", map[string]any{"dest_registry": toFar, "dest_namespace": "mirror", "dest_namespace_replace_count": 1, "filters": []any{filter("name", "library/shared-*")}})
		done := r.execute(policy)
		require.Equal(t, 4, done.Total)
		require.Equal(t, unique, done.bytes(), "sent")
		for repository, of := range images {
			for tag, image := range of {
				require.NoError(t, there.CheckPull(ctx, "mirror/"+strings.TrimPrefix(repository, "library/"), tag, image))
			}
		}
		again := r.execute(policy)
		require.Zero(t, again.bytes())
		require.Equal(t, 50, again.tasks[0].Progress.Present)
	})

	t.Run("a signed image verifies", func(t *testing.T) {
		r := replicating{t, near}
		directory := shortDirectory(t)
		s := &session{T: t, gateway: near, directory: directory, user: "admin", password: harness.AdminPassword, environ: []string{
			"HOME=" + directory, "DOCKER_CONFIG=" + filepath.Join(directory, "docker"), "SSL_CERT_FILE=" + near.CA(), "COSIGN_PASSWORD=of-the-key", "COSIGN_YES=true",
		}}
		require.NoError(t, os.MkdirAll(s.path("docker"), 0o700))
		s.run("crane", "auth", "login", near.Host(), "-u", s.user, "-p", s.password)
		pushed := sha256Pattern.FindString(s.run("crane", "append", "--oci-empty-base", "--new_layer", rootfs(t), "--new_tag", s.reference("signed", "v1")))
		s.run("cosign", "generate-key-pair", "--output-key-prefix", s.path("key"))
		s.run("cosign", "sign", "--key", s.path("key.key"), "--tlog-upload=false", "--use-signing-config=false", near.Host()+"/library/signed@"+pushed)
		s.run("cosign", "attach", "sbom", "--sbom", s.path("key.pub"), near.Host()+"/library/signed@"+pushed)
		r.execute(r.policy("signed", map[string]any{"dest_registry": toFar, "dest_namespace": "signed", "filters": []any{filter("name", "library/signed"), filter("tag", "v*")}}))
		both := s.path("both.crt")
		var certificates []byte
		for _, gateway := range []*harness.Gateway{near, far} {
			ca, err := os.ReadFile(gateway.CA())
			require.NoError(t, err)
			certificates = append(certificates, ca...)
		}
		require.NoError(t, os.WriteFile(both, certificates, 0o600))
		s.environ = append(s.environ, "SSL_CERT_FILE="+both)
		s.run("crane", "auth", "login", far.Host(), "-u", s.user, "-p", s.password)
		require.Contains(t, s.run("cosign", "verify", "--key", s.path("key.pub"), "--insecure-ignore-tlog=true", far.Host()+"/signed/signed@"+pushed), pushed)
		require.True(t, has(there, "signed/signed", strings.Replace(pushed, ":", "-", 1)+".sbom"))
	})

	t.Run("by platform", func(t *testing.T) {
		r := replicating{t, near}
		amd64, arm64 := harness.NewImage(71, 1000), harness.NewImage(72, 1000)
		require.NoError(t, here.Push(ctx, "library/platforms", amd64.Digest, amd64))
		require.NoError(t, here.Push(ctx, "library/platforms", arm64.Digest, arm64))
		index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
			{"mediaType":%[1]q,"digest":%[2]q,"size":%[3]d,"platform":{"os":"linux","architecture":"amd64"}},
			{"mediaType":%[1]q,"digest":%[4]q,"size":%[5]d,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}`,
			harness.MediaTypeManifest, amd64.Digest, len(amd64.Manifest), arm64.Digest, len(arm64.Manifest))
		require.NoError(t, here.PutManifest(ctx, "library/platforms", "v1", "application/vnd.oci.image.index.v1+json", []byte(index)))
		r.execute(r.policy("platforms", map[string]any{"dest_registry": toFar, "dest_namespace": "sparse", "filters": []any{filter("name", "library/platforms"), filter("platform", []string{"linux/arm64"})}}))
		copied, err := there.Manifest(ctx, "sparse/platforms", "v1")
		require.NoError(t, err)
		require.Equal(t, index, string(copied))
		require.NoError(t, there.CheckPull(ctx, "sparse/platforms", arm64.Digest, arm64))
		require.False(t, has(there, "sparse/platforms", amd64.Digest))
	})

	t.Run("by label, pulling from the far side", func(t *testing.T) {
		r, f := replicating{t, near}, replicating{t, far}
		stable := idOf(t, f.call(http.MethodPost, "/labels", http.StatusCreated, map[string]any{"name": "stable", "scope": "g"}, nil))
		kept, left := harness.NewImage(81, 1000), harness.NewImage(82, 1000)
		require.NoError(t, there.Push(ctx, "library/labelled", "kept", kept))
		require.NoError(t, there.Push(ctx, "library/labelled", "left", left))
		f.call(http.MethodPost, "/projects/library/repositories/labelled/artifacts/kept/labels", http.StatusOK, map[string]any{"id": stable}, nil)
		r.execute(r.policy("labels", map[string]any{"src_registry": toFar, "dest_namespace": "pulled", "dest_namespace_replace_count": -1, "filters": []any{
			filter("name", "library/lab*"), map[string]any{"type": "label", "value": []string{"stable"}, "decoration": "matches"},
		}}))
		require.NoError(t, here.CheckPull(ctx, "pulled/labelled", "kept", kept))
		require.False(t, has(here, "pulled/labelled", "left"))
	})

	t.Run("by schedule, to the reference registry and back", func(t *testing.T) {
		r := replicating{t, near}
		image := harness.NewImage(91, 1000, 2000)
		require.NoError(t, here.Push(ctx, "library/scheduled", "v1", image))
		trigger := map[string]any{"type": "scheduled", "trigger_settings": map[string]string{"cron": "* * * * * *"}}
		r.policy("out", map[string]any{"dest_registry": toReference, "trigger": trigger, "filters": []any{filter("name", "library/scheduled")}, "single_active_replication": true})
		r.policy("back", map[string]any{"src_registry": toReference, "trigger": trigger, "dest_namespace": "back", "filters": []any{filter("name", "library/sched**")}})
		require.Eventually(t, func() bool { return has(here, "back/scheduled", "v1") }, time.Minute, 100*time.Millisecond)
		require.NoError(t, here.CheckPull(ctx, "back/scheduled", "v1", image))
	})

	t.Run("by events, with deletions", func(t *testing.T) {
		r := replicating{t, near}
		r.policy("events", map[string]any{
			"dest_registry": toFar, "dest_namespace": "live", "trigger": map[string]any{"type": "event_based"}, "deletion": true, "filters": []any{filter("name", "library/events")},
		})
		image, other := harness.NewImage(101, 1000), harness.NewImage(102, 1000)
		require.NoError(t, here.Push(ctx, "library/events", "v1", image))
		require.NoError(t, here.Push(ctx, "library/events", "v2", other))
		eventually := func(condition func() bool) {
			t.Helper()
			require.Eventually(t, condition, time.Minute, 50*time.Millisecond)
		}
		eventually(func() bool { return has(there, "live/events", "v1") && has(there, "live/events", "v2") })
		require.NoError(t, there.CheckPull(ctx, "live/events", "v1", image))
		r.call(http.MethodDelete, "/projects/library/repositories/events/artifacts/"+image.Digest+"/tags/v1", http.StatusOK, nil, nil)
		eventually(func() bool { return !has(there, "live/events", "v1") })
		require.True(t, has(there, "live/events", image.Digest))
		r.call(http.MethodDelete, "/projects/library/repositories/events/artifacts/v2", http.StatusOK, nil, nil)
		eventually(func() bool { return !has(there, "live/events", other.Digest) })
		require.True(t, has(there, "live/events", image.Digest))
	})

	t.Run("failures, retries and dry runs", func(t *testing.T) {
		r := replicating{t, near}
		require.NoError(t, here.Push(ctx, "library/tried", "v1", harness.NewImage(111, 1000)))
		policy := r.policy("dry", map[string]any{"dest_registry": toFar, "dest_namespace": "dry", "filters": []any{filter("name", "library/tried")}})
		dry := r.await(idOf(t, r.call(http.MethodPost, "/replication/executions", http.StatusCreated, map[string]any{"policy_id": policy, "dry_run": true}, nil)), "Succeed")
		require.Contains(t, r.logs(dry), "would copy library/tried to dry/tried: v1")
		require.False(t, has(there, "dry/tried", "v1"))
		r.call(http.MethodPost, fmt.Sprintf("/replication/executions/%d/retry", dry.ID), http.StatusPreconditionFailed, nil, nil)
		r.call(http.MethodPost, "/replication/executions", http.StatusPreconditionFailed, map[string]any{
			"policy_id": r.policy("off", map[string]any{"dest_registry": toFar, "enabled": false}),
		}, nil)
	})

	t.Run("as the guide says", func(t *testing.T) {
		o := newOperator(t, near)
		o.logIn("admin", harness.AdminPassword)
		content, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "replication.md"))
		require.NoError(t, err)
		blocks := shellBlock.FindAllStringSubmatch(string(content), -1)
		require.Len(t, blocks, 3)

		ca := " --ca-file " + far.CA()
		said := o.types(blocks[0][1], strings.NewReplacer(
			"https://mirror.example.com", far.URL()+ca, "robot@berth", "admin", "https://registry.example.com:5000", reference, "ca.pem", far.CA(),
		), harness.AdminPassword+"\n")
		require.Contains(t, said[0], "docker-registry\n")
		require.Regexp(t, `mirror +harbor +`+far.URL()+` +healthy`, said[3])
		require.Regexp(t, `plain +docker-registry +`+reference+` +healthy`, said[3])

		curl := strings.NewReplacer("-u admin", "-sS --fail-with-body --cacert "+near.CA()+" -u admin:"+harness.AdminPassword, "https://registry.example.com", near.URL(),
			"{library,team}/**", "library/tried")
		_, err = harness.Run(ctx, o.environ, "", "bash", "-c", curl.Replace(blocks[1][1]))
		require.NoError(t, err)

		// The first two begin executions, which have numbers of their own.
		first, rest, _ := strings.Cut(blocks[2][1], "berth replication executions")
		said = o.types(first, strings.NewReplacer(), "")
		// The policy may also be told of the push, which was just before, and then it is copied as an event.
		if !strings.Contains(said[0], "would copy library/tried to mirror/tried: v1") {
			require.True(t, has(there, "mirror/tried", "v1"), said[0])
		}
		number := regexp.MustCompile(`Execution (\d+) is done: 1 repositories`).FindStringSubmatch(said[1])
		require.NotNil(t, number, said[1])
		require.True(t, has(there, "mirror/tried", "v1"))
		rest, last, _ := strings.Cut("berth replication executions"+rest, "berth replication retry")
		said = o.types(rest, strings.NewReplacer("17", number[1]), "")
		require.Regexp(t, `(?m)^`+number[1]+` +.* manual +Succeed +1 +0 +0$`, said[0])
		require.Regexp(t, `library/tried.* mirror/tried.* Succeed +100%`, said[1])
		require.Regexp(t, "1 copied, 0 there already|0 copied, 1 there already", said[2])
		require.Contains(t, o.exits(5, "", "replication", "retry", number[1]), "nothing of execution "+number[1]+" has failed", last)

		// The rest of the commands about it.
		require.Regexp(t, `to-the-mirror +here +far +event_based +yes`, o.run("", "replication", "list"))
		require.Contains(t, o.run("", "registry", "ping", "plain"), "Registry plain answers.")
		require.Contains(t, o.run("", "registry", "delete", "plain"), "Registry plain is forgotten.")
		begun := o.run("", "replication", "run", "to-the-mirror", "--no-wait")
		require.Contains(t, begun, "has begun")
	})
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// types types the lines of a guide, whose names are replaced by the test's, and returns what each said. "< file" is the standard input.
func (o *operator) types(lines string, names *strings.Replacer, stdin string) (said []string) {
	o.Helper()
	for line := range strings.Lines(lines) {
		command, _, _ := strings.Cut(line, "#")
		command, _, _ = strings.Cut(names.Replace(command), "<")
		words := strings.Fields(command)
		if len(words) == 0 {
			continue
		}
		require.Equal(o, "berth", words[0], line)
		said = append(said, o.run(stdin, words[1:]...))
	}
	return said
}

// pushSharing pushes images to some repositories, which all have the same layers, and returns them with the sum of the sizes of what
// they consist of.
func pushSharing(t *testing.T, client *harness.Client, repositories, images, layers int) (pushed map[string]map[string]harness.Image, unique int64) {
	t.Helper()
	ctx := context.Background()
	sizes := make([]int64, layers)
	for i := range sizes {
		sizes[i] = 50_000 + int64(i)
	}
	shared := harness.NewImage(61, sizes...)
	pushed = map[string]map[string]harness.Image{}
	for _, layer := range shared.Layers {
		unique += int64(len(layer))
	}
	for i := range images {
		repository, tag := fmt.Sprint("library/shared-", i%repositories), fmt.Sprint("v", i)
		image := harness.Image{Config: fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"comment":"image %d"}`, i), Layers: shared.Layers}
		document := map[string]any{"schemaVersion": 2, "mediaType": harness.MediaTypeManifest, "config": harness.Describe(harness.MediaTypeConfig, image.Config)}
		described := []harness.Descriptor{}
		for _, layer := range image.Layers {
			described = append(described, harness.Describe(harness.MediaTypeLayer, layer))
		}
		document["layers"] = described
		var err error
		image.Manifest, err = json.Marshal(document)
		require.NoError(t, err)
		image.Digest = harness.Describe("", image.Manifest).Digest
		blobs := [][]byte{image.Config}
		if pushed[repository] == nil {
			pushed[repository] = map[string]harness.Image{}
			blobs = append(blobs, image.Layers...)
		}
		for _, blob := range blobs {
			d := harness.Describe("", blob)
			require.NoError(t, client.PushBlob(ctx, repository, d.Digest, d.Size, bytes.NewReader(blob)))
		}
		require.NoError(t, client.PutManifest(ctx, repository, tag, harness.MediaTypeManifest, image.Manifest))
		pushed[repository][tag] = image
		unique += int64(len(image.Config))
	}
	return pushed, unique
}
