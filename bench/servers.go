package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const password = "Bench-Passw0rd"

// server is a process under measurement.
type server struct {
	name  string
	cmd   *exec.Cmd
	base  string // URL without a trailing slash
	token string
	// user, where it is set, is whose name and password are sent instead of the token, as the API wants.
	user   string
	client *http.Client
	log    string
	// dir is where the process keeps what it stores.
	dir string
	// after stops what the process stands on; nil where that is nothing.
	after func()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// launch starts a program and waits until ready answers without a fault of the server.
func (b *bench) launch(name string, env []string, ready string, program string, args ...string) (*server, error) {
	logFile, err := os.CreateTemp(b.dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Dir = b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s := &server{name: name, cmd: cmd, log: logFile.Name(), client: newClient()}
	deadline := time.Now().Add(60 * time.Second)
	for {
		response, err := s.client.Get(ready)
		if err == nil {
			response.Body.Close()
			if response.StatusCode < 500 {
				return s, nil
			}
			err = fmt.Errorf("it answers %s", response.Status)
		}
		if time.Now().After(deadline) {
			s.stop()
			output, _ := os.ReadFile(s.log)
			return nil, fmt.Errorf("%s did not become ready: %w\n%s", name, err, output)
		}
		select {
		case <-b.ctx.Done():
			s.stop()
			return nil, b.ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
			MaxIdleConnsPerHost: 128,
			MaxConnsPerHost:     128,
			DisableCompression:  true,
			WriteBufferSize:     256 << 10,
			ReadBufferSize:      256 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return nil },
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-done
	}
	if s.after != nil {
		s.after()
	}
}

// cpu returns the user and system seconds of the process and its children that are alive (nginx has workers).
func (s *server) cpu() float64 {
	total := processCPU(s.cmd.Process.Pid)
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.cmd.Process.Pid, s.cmd.Process.Pid))
	for field := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(field); err == nil {
			total += processCPU(pid)
		}
	}
	return total
}

func processCPU(pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// memory returns the resident set in MiB.
func (s *server) memory() float64 { return s.status("VmRSS:") }

// peak returns the most that the resident set has been since rest, in MiB.
func (s *server) peak() float64 { return s.status("VmHWM:") }

// rest returns the resident set, in MiB, and lets the peak begin there.
func (s *server) rest() (float64, error) {
	err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0)
	return s.memory(), err
}

func (s *server) status(field string) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

// certificate writes a self-signed certificate for 127.0.0.1 and localhost, once.
func (b *bench) certificate() (cert, key string, err error) {
	cert, key = filepath.Join(b.dir, "server.crt"), filepath.Join(b.dir, "server.key")
	if _, err := os.Stat(cert); err == nil {
		return cert, key, nil
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o644); err != nil {
		return "", "", err
	}
	return cert, key, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// berthOptions shape one Berth.
type berthOptions struct {
	tls     bool
	storage string // Caddyfile lines of the storage option; empty is a directory
	env     []string
	dir     string // data directory; empty makes a fresh one
	// protocols are Caddy's; empty is what docs/speed.md advises: h1 for TLS, h1 h2 without, where nothing negotiates h2 and the
	// wrapper that refuses it would hide sendfile.
	protocols string
}

// startBerth starts Berth with authentication on, and fetches a token for the repository "library/bench".
func (b *bench) startBerth(options berthOptions) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if options.dir == "" {
		if options.dir, err = os.MkdirTemp(b.dir, "berth-"); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(options.dir, 0o755); err != nil {
		return nil, err
	}
	scheme, tlsLine, protocols := "http", "", "h1 h2"
	if options.tls {
		protocols = "h1"
		cert, key, err := b.certificate()
		if err != nil {
			return nil, err
		}
		scheme, tlsLine = "https", fmt.Sprintf("tls %s %s", cert, key)
	}
	caddyfile := fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	storage file_system %[1]s/caddy
	servers {
		protocols %[6]s
	}
	berth {
		data_dir %[1]s
		%[2]s
	}
}
%[3]s://127.0.0.1:%[4]d {
	%[5]s
	berth
}
`, options.dir, options.storage, scheme, port, tlsLine, cmp.Or(options.protocols, protocols))
	file := filepath.Join(options.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	base := fmt.Sprintf("%s://127.0.0.1:%d", scheme, port)
	s, err := b.launch("berth", append(options.env, "BERTH_ADMIN_PASSWORD="+password), base+"/v2/", b.berth, "run", "--config", file, "--adapter", "caddyfile")
	if err != nil {
		return nil, err
	}
	s.base, s.dir = base, options.dir
	s.token, err = s.fetchToken("repository:library/bench:pull,push,delete")
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) fetchToken(scope string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, s.base+"/service/token?service="+strings.TrimPrefix(strings.TrimPrefix(s.base, "https://"), "http://")+"&scope="+scope, nil)
	if err != nil {
		return "", err
	}
	request.SetBasicAuth("admin", password)
	response, err := s.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("token request answered %s: %w", response.Status, err)
	}
	if answer.Token == "" {
		return "", fmt.Errorf("token request answered %s without a token", response.Status)
	}
	return answer.Token, nil
}

// startDistribution starts distribution v3 without authentication; storage is a YAML block, empty for a directory.
func (b *bench) startDistribution(useTLS bool, storage string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "distribution-")
	if err != nil {
		return nil, err
	}
	if storage == "" {
		storage = "  filesystem:\n    rootdirectory: " + dir
	}
	scheme, tlsBlock := "http", ""
	if useTLS {
		cert, key, err := b.certificate()
		if err != nil {
			return nil, err
		}
		scheme, tlsBlock = "https", fmt.Sprintf("  tls:\n    certificate: %s\n    key: %s\n", cert, key)
	}
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  delete:\n    enabled: true\n%s\nhttp:\n  addr: 127.0.0.1:%d\n%s", storage, port, tlsBlock)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	base := fmt.Sprintf("%s://127.0.0.1:%d", scheme, port)
	s, err := b.launch("distribution", []string{"OTEL_TRACES_EXPORTER=none"}, base+"/v2/", filepath.Join(b.tools, "registry"), "serve", file)
	if err != nil {
		return nil, err
	}
	s.base, s.dir = base, dir
	return s, nil
}

// startNginx serves the files of a directory.
func (b *bench) startNginx(useTLS bool, root string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	scheme, listen := "http", fmt.Sprintf("listen 127.0.0.1:%d;", port)
	if useTLS {
		cert, key, err := b.certificate()
		if err != nil {
			return nil, err
		}
		scheme, listen = "https", fmt.Sprintf("listen 127.0.0.1:%d ssl; ssl_certificate %s; ssl_certificate_key %s;", port, cert, key)
	}
	config := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log stderr; user root;
events { worker_connections 512; }
http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { %[2]s root %[3]s; } }`, dir, listen, root)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	base := fmt.Sprintf("%s://127.0.0.1:%d", scheme, port)
	s, err := b.launch("nginx", nil, base+"/", "/usr/sbin/nginx", "-c", file)
	if err != nil {
		return nil, err
	}
	s.base = base
	return s, nil
}

// startS3 starts versitygw over a directory with one bucket named "bench".
func (b *bench) startS3() (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "s3-")
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"iam", "objects/bench"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	s, err := b.launch("versitygw", []string{"ROOT_ACCESS_KEY=" + s3Key, "ROOT_SECRET_KEY=" + s3Secret}, base+"/health", filepath.Join(b.tools, "versitygw"),
		"--port", fmt.Sprintf("127.0.0.1:%d", port), "--health", "/health", "--iam-dir", filepath.Join(dir, "iam"), "posix", filepath.Join(dir, "objects"))
	if err != nil {
		return nil, err
	}
	s.base = base
	return s, nil
}

const s3Key, s3Secret = "benchkey", "benchsecret"

// do sends one request with the server's token and discards the body; a status other than one of want is an error.
func (s *server) do(ctx context.Context, method, path string, body io.Reader, length int64, header http.Header, want ...int) (*http.Response, error) {
	target := path
	if strings.HasPrefix(path, "/") {
		target = s.base + path
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.ContentLength = length
	}
	maps.Copy(request.Header, header)
	switch {
	case s.user != "":
		request.SetBasicAuth(s.user, password)
	case s.token != "":
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if len(want) > 0 && !slices.Contains(want, response.StatusCode) {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return nil, fmt.Errorf("%s: %s %s answered %s: %s", s.name, method, path, response.Status, text)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response, err
}
