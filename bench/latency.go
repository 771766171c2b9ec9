package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// roundTrip is the latency that the far-away client sees.
const roundTrip = 50 * time.Millisecond

// delay forwards TCP connections and holds every byte back for half a round trip in each direction. Bandwidth stays what the
// machine can do, so that what slows a push down is waiting alone: a window of the protocol above TCP, or one request after
// another.
func (b *bench) delay(target string) (string, func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			go forward(far, near)
			go forward(near, far)
		}
	}()
	return listener.Addr().String(), func() { listener.Close() }, nil
}

type packet struct {
	due   time.Time
	bytes []byte
}

func forward(to, from net.Conn) {
	packets := make(chan packet, 8192)
	go func() {
		defer close(packets)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				packets <- packet{time.Now().Add(roundTrip / 2), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range packets {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			from.Close()
			for range packets { // lets the reader end
			}
			break
		}
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

// latency pushes one layer through the delaying proxy with the clients people use, over HTTP/1.1 alone and with HTTP/2 offered.
func latency(b *bench) ([]finding, error) {
	const size = 96 << 20
	var findings []finding
	for _, client := range []struct {
		name string
		push func(b *bench, address, image, tag string) (time.Duration, error)
	}{{"crane", pushByCrane}, {"skopeo", pushBySkopeo}, {"docker", pushByDocker}, {"containerd", pushByContainerd}} {
		speeds := map[string]float64{}
		for _, protocols := range []string{"h1", "h1 h2"} {
			s, err := b.startBerth(berthOptions{tls: true, protocols: protocols})
			if err != nil {
				return nil, err
			}
			address, stop, err := b.delay(strings.TrimPrefix(s.base, "https://"))
			if err != nil {
				s.stop()
				return nil, err
			}
			var rounds []float64
			for round := range min(b.rounds, 3) {
				image := filepath.Join(b.dir, fmt.Sprintf("far-%s-%d", client.name, time.Now().UnixNano()))
				if err = writeLayout(image, 1, size); err != nil {
					break
				}
				var took time.Duration
				if took, err = client.push(b, address, image, fmt.Sprintf("far-%s-%d", client.name, round)); err != nil {
					break
				}
				rounds = append(rounds, float64(size>>20)/took.Seconds())
				os.RemoveAll(image)
			}
			stop()
			s.stop()
			if err != nil {
				return nil, err
			}
			speeds[protocols] = median(rounds)
			log.Printf("%s over %s: %.1f MiB/s", client.name, protocols, speeds[protocols])
		}
		findings = append(findings, finding{
			what: fmt.Sprintf("push of %d MiB by %s over a round trip of %s", size>>20, client.name, roundTrip), target: "the shipped protocols are the faster",
			reached: fmt.Sprintf("HTTP/1.1: %.1f MiB/s, HTTP/2 offered: %.1f MiB/s", speeds["h1"], speeds["h1 h2"]),
			met:     speeds["h1"] >= 0.9*speeds["h1 h2"],
		})
	}
	return findings, nil
}

func command(b *bench, env []string, stdin io.Reader, name string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Env, cmd.Stdin = append(os.Environ(), env...), stdin
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, output)
	}
	return nil
}

// timed runs a command and returns how long it took.
func timed(b *bench, env []string, name string, args ...string) (time.Duration, error) {
	began := time.Now()
	err := command(b, env, nil, name, args...)
	return time.Since(began), err
}

// dockerConfig writes a client configuration with the bench's credentials for an address and returns its directory.
func (b *bench) dockerConfig(address string) (string, error) {
	dir, err := os.MkdirTemp(b.dir, "config-")
	if err != nil {
		return "", err
	}
	auth := base64.StdEncoding.EncodeToString([]byte("admin:" + password))
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, address, auth), 0o600)
}

func pushByCrane(b *bench, address, image, tag string) (time.Duration, error) {
	config, err := b.dockerConfig(address)
	if err != nil {
		return 0, err
	}
	return timed(b, []string{"DOCKER_CONFIG=" + config}, filepath.Join(b.tools, "crane"), "push", "--insecure", image, address+"/"+repository+":"+tag)
}

func pushBySkopeo(b *bench, address, image, tag string) (time.Duration, error) {
	return timed(b, nil, "skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", "admin:"+password, "oci:"+image+":latest", "docker://"+address+"/"+repository+":"+tag)
}

func pushByDocker(b *bench, address, image, tag string) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.dir, "docker-")
	if err != nil {
		return 0, err
	}
	socket := "unix://" + filepath.Join(dir, "s")
	cmd := exec.Command("dockerd", "--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none",
		"--data-root", filepath.Join(dir, "g"), "--exec-root", filepath.Join(dir, "x"), "--pidfile", filepath.Join(dir, "p"), "-H", socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start dockerd: %w", err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = syscall.Unmount(filepath.Join(dir, "x", "netns", "default"), syscall.MNT_DETACH)
	}()
	config, err := b.dockerConfig(address)
	if err != nil {
		return 0, err
	}
	env := []string{"DOCKER_HOST=" + socket, "DOCKER_CONFIG=" + config}
	if err := waitFor(b, func() error { return command(b, env, nil, "docker", "version") }); err != nil {
		return 0, err
	}
	name := address + "/" + repository + ":" + tag
	archive := image + ".tar"
	if err := command(b, nil, nil, "tar", "-C", image, "-cf", archive, "."); err != nil {
		return 0, err
	}
	defer os.Remove(archive)
	if err := command(b, env, nil, "docker", "import", archive, name); err != nil {
		return 0, err
	}
	return timed(b, env, "docker", "push", name)
}

func pushByContainerd(b *bench, address, image, tag string) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.dir, "containerd-")
	if err != nil {
		return 0, err
	}
	socket, file := filepath.Join(dir, "c.sock"), filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "version = 2\nroot = %q\nstate = %q\n[grpc]\n  address = %q\n", filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.Command("containerd", "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start containerd: %w", err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	ctr := func(args ...string) error {
		return command(b, nil, nil, "ctr", append([]string{"-a", socket}, args...)...)
	}
	if err := waitFor(b, func() error { return ctr("version") }); err != nil {
		return 0, err
	}
	archive := image + ".tar"
	name := address + "/" + repository + ":" + tag
	if err := command(b, nil, nil, "tar", "-C", image, "-cf", archive, "."); err != nil {
		return 0, err
	}
	defer os.Remove(archive)
	if err := ctr("i", "import", "--no-unpack", "--index-name", name, archive); err != nil {
		return 0, err
	}
	// Without this containerd speaks plain HTTP to a loopback address.
	hosts := filepath.Join(dir, "certs.d")
	if err := os.MkdirAll(filepath.Join(hosts, address), 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(hosts, address, "hosts.toml"), fmt.Appendf(nil, "server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n  skip_verify = true\n", address), 0o600); err != nil {
		return 0, err
	}
	return timed(b, nil, "ctr", "-a", socket, "i", "push", "--hosts-dir", hosts, "-u", "admin:"+password, name)
}

func waitFor(b *bench, ready func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ready()
		if err == nil || time.Now().After(deadline) || b.ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
