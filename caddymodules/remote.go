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
	"github.com/spf13/cobra"
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

// targetFlags adds the flags that find the target.
func targetFlags(command *cobra.Command) {
	flags := command.PersistentFlags()
	flags.StringP("config", "c", "", "configuration file (default: Caddyfile in this directory)")
	flags.StringP("adapter", "a", "", "configuration adapter, where the file is not a Caddyfile or JSON")
	flags.String("address", "", "address of the server's admin endpoint (default: that of the configuration)")
	flags.StringP("output", "o", "table", "how to print: table or json")
}

func findTarget(command *cobra.Command) (target, error) {
	flags := command.Flags()
	file, adapter, address := flags.Lookup("config").Value.String(), flags.Lookup("adapter").Value.String(), flags.Lookup("address").Value.String()
	loaded, err := loadConfig(file, adapter, address == "")
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
	if address != "" {
		found.admin = address
	}
	if found.app == nil && address == "" {
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
		return nil, errors.New("there is no Caddyfile in this directory: name the configuration with --config")
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

// run runs an operation in the server, or here when none is running, and decodes its result.
func (t target) run(ctx context.Context, name string, arguments, result any) error {
	encoded, err := json.Marshal(arguments)
	if err != nil {
		return err
	}
	answer, err := t.runRemotely(ctx, name, encoded)
	if errors.Is(err, errNotRunning) {
		if t.app == nil {
			return fmt.Errorf("%w at %s", errNotRunning, t.admin)
		}
		answer, err = t.runHere(ctx, name, encoded)
	}
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(answer, result)
}

// runRemotely runs an operation through the admin endpoint. It returns [errNotRunning] when nobody listens there.
func (t target) runRemotely(ctx context.Context, name string, arguments []byte) ([]byte, error) {
	if t.admin == "" {
		return nil, errNotRunning
	}
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
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+origin+adminPath+name, bytes.NewReader(arguments))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, host)
		},
		DisableKeepAlives: true,
	}}
	response, err := client.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, errNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("ask the server at %s: %w", t.admin, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return body, nil
	}
	var failure struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &failure) != nil || failure.Error == "" {
		return nil, fmt.Errorf("the server at %s answered %s", t.admin, response.Status)
	}
	return nil, errors.New(failure.Error)
}

// runHere runs an operation on the database itself.
func (t target) runHere(ctx context.Context, name string, arguments []byte) ([]byte, error) {
	settings, err := readSettings(t.app)
	if err != nil {
		return nil, err
	}
	administration, closeStore, err := openAdministration(ctx, settings)
	if err != nil {
		return nil, err
	}
	result, err := operations[name](ctx, administration, arguments)
	if closeErr := closeStore(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

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
