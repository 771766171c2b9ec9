package caddymodules

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/caddymodules/command"
)

// target is the registry that a command works on, as its configuration file describes it.
type target struct {
	// admin is the address of the admin endpoint, "" where it is switched off.
	admin string
	// app is the JSON of the berth app.
	app json.RawMessage
}

// errNotRunning: no server listens on the admin endpoint.
var errNotRunning = errors.New("no server is running")

func findTarget(place command.Place) (target, error) {
	loaded, err := loadConfig(place.Config, place.Adapter, place.Address == "")
	if err != nil {
		return target{}, err
	}
	var config struct {
		Admin *caddy.AdminConfig         `json:"admin"`
		Apps  map[string]json.RawMessage `json:"apps"`
	}
	if len(loaded) > 0 {
		if err := json.Unmarshal(loaded, &config); err != nil {
			return target{}, fmt.Errorf("read configuration: %w", err)
		}
	}
	found := target{admin: caddy.DefaultAdminListen, app: config.Apps["berth"]}
	if config.Admin != nil {
		if config.Admin.Listen != "" {
			found.admin = config.Admin.Listen
		}
		if config.Admin.Disabled {
			found.admin = ""
		}
	}
	if place.Address != "" {
		found.admin = place.Address
	}
	if found.app == nil && place.Address == "" {
		if place.Config == "" {
			return target{}, command.ErrNoConfig
		}
		return target{}, errors.New("the configuration has no berth option: name the file with --config, or the server with --address")
	}
	return found, nil
}

// loadConfig reads a configuration file as Caddy does, but without its log lines, which have no place in a command's output. A
// file that is not named may be missing where it is not needed.
func loadConfig(file, adapter string, needed bool) ([]byte, error) {
	named := file != ""
	if !named {
		file = "Caddyfile"
	}
	content, err := os.ReadFile(file) //nolint:gosec // whoever runs the command named it
	if errors.Is(err, fs.ErrNotExist) && !named {
		if !needed {
			return nil, nil
		}
		return nil, command.ErrNoConfig
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if adapter == "" && filepath.Ext(file) == ".json" {
		return content, nil
	}
	if adapter == "" {
		adapter = "caddyfile"
	}
	known := caddyconfig.GetAdapter(adapter)
	if known == nil {
		return nil, fmt.Errorf("unknown configuration adapter %q", adapter)
	}
	adapted, _, err := known.Adapt(content, map[string]any{"filename": file})
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return adapted, nil
}

// connect finds the way to the registry of a place: through the admin endpoint of the server when it runs, else through the
// registry opened in this process.
func connect(ctx context.Context, place command.Place) (*command.API, error) {
	found, err := findTarget(place)
	if err != nil {
		return nil, err
	}
	if found.admin != "" {
		remote, err := found.throughAdmin(ctx)
		if err == nil || !errors.Is(err, errNotRunning) {
			return remote, err
		}
	}
	if found.app == nil {
		return nil, fmt.Errorf("%w at %s", errNotRunning, found.admin)
	}
	return found.opened(ctx)
}

// throughAdmin is the way through the admin endpoint. It returns [errNotRunning] when nobody listens there.
func (t target) throughAdmin(ctx context.Context) (*command.API, error) {
	address, err := caddy.ParseNetworkAddress(t.admin)
	if err != nil {
		return nil, fmt.Errorf("admin address %s: %w", t.admin, err)
	}
	network, host := address.Network, address.JoinHostPort(0)
	origin := host
	if address.IsUnixNetwork() {
		host, _, _ = strings.Cut(address.Host, "|") // the socket's permissions
		origin = "127.0.0.1"
	}
	var dialer net.Dialer
	trial, err := dialer.DialContext(ctx, network, host)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, errNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("reach the server at %s: %w", t.admin, err)
	}
	_ = trial.Close()
	return &command.API{
		Base: "http://" + origin + strings.TrimSuffix(adminPath, "/"),
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, host)
			},
			DisableKeepAlives: true,
		},
	}, nil
}

// opened is the way through the registry opened in this process.
func (t target) opened(ctx context.Context) (*command.API, error) {
	settings, err := readSettings(t.app)
	if err != nil {
		return nil, err
	}
	opened, err := openServices(ctx, settings)
	if err != nil {
		return nil, err
	}
	return &command.API{
		Base:      "http://localhost",
		Transport: inProcess{opened.api},
		Close: func() error {
			opened.close()
			return nil
		},
	}, nil
}

// inProcess carries requests of the operator to a handler in this process.
type inProcess struct{ handler http.Handler }

// RoundTrip answers a request.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := &recorded{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(answer, r.WithContext(api.AsOperator(r.Context())))
	return &http.Response{
		Status: http.StatusText(answer.status), StatusCode: answer.status, Header: answer.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(answer.body.Len()), Body: io.NopCloser(&answer.body),
	}, nil
}

// recorded is an answer in memory.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the header.
func (a *recorded) Header() http.Header { return a.header }

// WriteHeader notes the status.
func (a *recorded) WriteHeader(status int) { a.status = status }

// Write keeps bytes of the body.
func (a *recorded) Write(p []byte) (int, error) { return a.body.Write(p) }

// readSettings reads the app's configuration as a server would, and starts nothing.
func readSettings(raw json.RawMessage) (settings, error) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{"berth": raw},
	})
	if err != nil {
		return settings{}, err
	}
	app, err := ctx.App("berth")
	if err != nil {
		return settings{}, err
	}
	// The share of the core that comes with provisioning.
	return app.(*App).settings, app.(*App).Cleanup()
}
