package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/berth-registry/berth/pause"
)

// work is what is copied.
type work struct {
	what string
	// images have layers of size bytes each, of which the first shared ones are the same in all.
	images, layers, shared int
	size                   int64
}

// cost is what a copy took.
type cost struct {
	seconds float64
	// cpu is the CPU seconds of all who took part: the registry copied from, the one copied to, and who copied.
	cpu float64
	// copying is those of who copied alone; 0 for Berth, which is one of the registries.
	copying float64
	// memory is the most MiB resident: of a program all, of Berth what it grew by, as it is there anyway.
	memory float64
}

// copies compares replication by Berth, from it and to it, with the programs by which people copy images between the same registries.
func copies(b *bench) ([]finding, error) {
	big := int64(32 << 20)
	if b.large {
		big = 256 << 20
	}
	var findings []finding
	for _, w := range []work{
		{fmt.Sprintf("an image of 4 layers of %d MiB", big>>20), 1, 4, 0, big},
		{"an image of 200 layers of 64 KiB", 1, 200, 0, 64 << 10},
		{"50 images of 10 layers of 1 MiB, 8 of them in all", 50, 10, 8, 1 << 20},
	} {
		for _, pull := range []bool{true, false} {
			f, err := b.copy(w, pull)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.what, err)
			}
			findings = append(findings, f...)
		}
	}
	return findings, nil
}

// copy copies from distribution to Berth when it is to pull, else from Berth to distribution. Both are new processes for each copy, and
// the one copied to is empty.
func (b *bench) copy(w work, pull bool) ([]finding, error) {
	dir, err := os.MkdirTemp(b.dir, "copies-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source := func() (*server, error) { return b.startBerth(berthOptions{dir: dir}) }
	target := func() (*server, error) { return b.startDistribution(false, "") }
	if pull {
		kept := "  filesystem:\n    rootdirectory: " + dir
		source = func() (*server, error) { return b.startDistribution(false, kept) }
		target = func() (*server, error) { return b.startBerth(berthOptions{}) }
	}
	filled, err := source()
	if err != nil {
		return nil, err
	}
	err = filled.fill(b, w)
	filled.stop()
	if err != nil {
		return nil, err
	}
	names := []string{"Berth", "skopeo", "regctl"}
	contestants := []func(from, to *server) (cost, error){
		func(from, to *server) (cost, error) { return b.replicate(from, to, pull) },
		func(from, to *server) (cost, error) { return b.copyWith(from, to, b.skopeo(w, from, to)) },
		func(from, to *server) (cost, error) { return b.copyWith(from, to, b.regctl(w, from, to)) },
	}
	costs := make([][]cost, len(contestants))
	for range b.rounds {
		for i, contestant := range contestants {
			c, err := func() (cost, error) {
				from, err := source()
				if err != nil {
					return cost{}, err
				}
				defer from.stop()
				to, err := target()
				if err != nil {
					return cost{}, err
				}
				defer os.RemoveAll(to.dir)
				defer to.stop()
				return contestant(from, to)
			}()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", names[i], err)
			}
			log.Printf("%s, pull %t, %s: %+v", w.what, pull, names[i], c)
			costs[i] = append(costs[i], c)
		}
	}
	direction := "to distribution"
	if pull {
		direction = "from distribution"
	}
	middle := func(i int, of func(cost) float64) float64 {
		var values []float64
		for _, c := range costs[i] {
			values = append(values, of(c))
		}
		return median(values)
	}
	seconds := func(c cost) float64 { return c.seconds }
	cpu := func(c cost) float64 { return c.cpu }
	copying := func(c cost) float64 { return c.copying }
	memory := func(c cost) float64 { return c.memory }
	var findings []finding
	for i, rival := range names[1:] {
		mine, theirs := middle(0, seconds), middle(i+1, seconds)
		resident, other := middle(0, memory), middle(i+1, memory)
		findings = append(findings, finding{
			what: fmt.Sprintf("copy %s %s", w.what, direction), target: fmt.Sprintf("faster than %s, with less memory", rival),
			reached: fmt.Sprintf("%s × its speed (%.2f and %.2f s), %s × the memory (%.0f and %.0f MiB); CPU s of all three: %.2f and %.2f, %.2f of them its own",
				ratio(theirs, mine), mine, theirs, ratio(resident, other), resident, other, middle(0, cpu), middle(i+1, cpu), middle(i+1, copying)),
			met: mine < theirs && resident < other,
		})
	}
	return findings, nil
}

// fill pushes the images. Layers say that they are gzip, as skopeo would compress them otherwise.
func (s *server) fill(b *bench, w work) error {
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	if err := s.putBlob(b.ctx, config); err != nil {
		return err
	}
	layer := func() (described, error) {
		digest, content := prefixedZeros(append([]byte{0x1f, 0x8b, 8}, random(32)...), w.size)
		return described{"application/vnd.oci.image.layer.v1.tar+gzip", digest, w.size}, s.putStream(b.ctx, digest, w.size, content)
	}
	layers := make([]described, w.layers)
	for i := range w.images {
		for l := range layers {
			if i > 0 && l < w.shared {
				continue
			}
			var err error
			if layers[l], err = layer(); err != nil {
				return err
			}
		}
		payload, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": manifestType, "layers": layers,
			"config": described{"application/vnd.oci.image.config.v1+json", digestOf(config), int64(len(config))},
		})
		if err != nil {
			return err
		}
		if err := s.putManifest(b.ctx, fmt.Sprint("v", i), payload); err != nil {
			return err
		}
	}
	return nil
}

type described struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// measured runs a copy and adds what the registries took for it.
func measured(from, to *server, call func() (cost, error)) (cost, error) {
	used, began := from.cpu()+to.cpu(), time.Now()
	c, err := call()
	c.seconds = time.Since(began).Seconds()
	c.cpu = from.cpu() + to.cpu() - used + c.copying
	return c, err
}

// copyWith has a program copy.
func (b *bench) copyWith(from, to *server, command *exec.Cmd) (cost, error) {
	return measured(from, to, func() (cost, error) {
		output, err := command.CombinedOutput()
		if err != nil {
			return cost{}, fmt.Errorf("%w: %s", err, output)
		}
		state := command.ProcessState
		usage := state.SysUsage().(*syscall.Rusage)
		return cost{copying: (state.UserTime() + state.SystemTime()).Seconds(), memory: float64(usage.Maxrss) / 1024}, nil
	})
}

func (s *server) host() string { return strings.TrimPrefix(s.base, "http://") }

// skopeo copies one image, or all of the repository.
func (b *bench) skopeo(w work, from, to *server) *exec.Cmd {
	args := []string{"copy"}
	source, target := "docker://"+from.host()+"/"+repository+":v0", "docker://"+to.host()+"/"+repository+":v0"
	if w.images > 1 {
		args = []string{"sync", "--src", "docker", "--dest", "docker"}
		source, target = from.host()+"/"+repository, to.host()+"/"+path.Dir(repository)
	}
	args = append(args, "--src-tls-verify=false", "--dest-tls-verify=false")
	if from.token != "" {
		args = append(args, "--src-creds", "admin:"+password)
	}
	if to.token != "" {
		args = append(args, "--dest-creds", "admin:"+password)
	}
	return exec.CommandContext(b.ctx, "skopeo", append(args, source, target)...)
}

// regctl copies one image, or all of the repository.
func (b *bench) regctl(w work, from, to *server) *exec.Cmd {
	var args []string
	for _, s := range []*server{from, to} {
		host := "reg=" + s.host() + ",tls=disabled"
		if s.token != "" {
			host += ",user=admin,pass=" + password
		}
		args = append(args, "--host", host)
	}
	source, target := from.host()+"/"+repository, to.host()+"/"+repository
	if w.images > 1 {
		args = append(args, "repo", "copy", source, target)
	} else {
		args = append(args, "image", "copy", source+":v0", target+":v0")
	}
	return exec.CommandContext(b.ctx, filepath.Join(b.tools, "regctl"), args...)
}

// replicate has Berth copy, by a policy.
func (b *bench) replicate(from, to *server, pull bool) (cost, error) {
	berth, other, side := from, to, "dest_registry"
	if pull {
		berth, other, side = to, from, "src_registry"
	}
	berth.user = administratorName
	name := fmt.Sprint("other-", time.Now().UnixNano()) // the database has those of earlier rounds
	registry, err := berth.create(b, "/registries", map[string]any{"name": name, "type": "docker-registry", "url": other.base})
	if err != nil {
		return cost{}, err
	}
	policy, err := berth.create(b, "/replication/policies", map[string]any{
		"name": name, "enabled": true, "override": true, "trigger": map[string]any{"type": "manual"},
		side: map[string]any{"id": registry}, "filters": []any{map[string]any{"type": "name", "value": repository}},
	})
	if err != nil {
		return cost{}, err
	}
	rest, err := berth.rest()
	if err != nil {
		return cost{}, err
	}
	return measured(from, to, func() (cost, error) {
		execution, err := berth.create(b, "/replication/executions", map[string]any{"policy_id": policy})
		if err != nil {
			return cost{}, err
		}
		for {
			var answer struct {
				Status string `json:"status"`
				Text   string `json:"status_text"`
			}
			if err := berth.fetchJSON(b.ctx, fmt.Sprint("/api/v2.0/replication/executions/", execution), &answer); err != nil {
				return cost{}, err
			}
			switch answer.Status {
			case "Succeed":
				return cost{memory: berth.peak() - rest}, nil
			case "InProgress":
				if err := pause.For(b.ctx, 5*time.Millisecond); err != nil {
					return cost{}, err
				}
			default:
				return cost{}, fmt.Errorf("execution %s: %s", answer.Status, answer.Text)
			}
		}
	})
}

// create posts to the API and returns the id of what was made.
func (s *server) create(b *bench, at string, wanted any) (id int64, err error) {
	body, err := json.Marshal(wanted)
	if err != nil {
		return 0, err
	}
	response, err := s.do(b.ctx, http.MethodPost, "/api/v2.0"+at, bytes.NewReader(body), int64(len(body)), http.Header{"Content-Type": {"application/json"}}, http.StatusCreated)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(path.Base(response.Header.Get("Location")), &id)
	return id, err
}
