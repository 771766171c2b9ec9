package caddymodules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/berth-registry/berth/metadata"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

const (
	adminPath = "/berth/"
	// adminSocket is where the shipped Caddyfile has the admin endpoint, in the data directory.
	adminSocket = "admin.sock"
	// maxArguments is the longest body of an operation, in bytes.
	maxArguments = 64 << 10
)

// adminStarted is set once this process has started an admin endpoint with Berth's routes.
var adminStarted atomic.Bool

// Admin adds Berth's routes to Caddy's admin endpoint, for the commands that change users, projects and members while the
// server runs:
//
//	POST /berth/<operation>   runs the operation with the arguments in the body
//
// Whoever may use the admin endpoint is trusted with everything, as always with Caddy: keep it on a socket or on localhost.
type Admin struct {
	app *App
}

// CaddyModule returns Caddy's description of the routes.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.berth",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Provision finds the app and makes the data directory. Caddy calls it when it is about to listen on the admin endpoint, which
// the shipped Caddyfile has in that directory, and never for a configuration that is only validated.
func (a *Admin) Provision(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("berth")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil
	}
	if err != nil {
		return err
	}
	a.app = app.(*App)
	directory := a.app.settings.dataDir
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if adminStarted.Swap(true) {
		return nil
	}
	return refuseSecondProcess(ctx, filepath.Join(directory, adminSocket))
}

// refuseSecondProcess keeps Caddy from unlinking the socket of another process that serves the same directory.
func refuseSecondProcess(ctx context.Context, socket string) error {
	dialer := net.Dialer{Timeout: time.Second}
	connection, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil //nolint:nilerr // nobody listens, which is what is wanted
	}
	_ = connection.Close()
	return fmt.Errorf("another berth runs on %s: stop it, or set BERTH_DATA_DIR", filepath.Dir(socket))
}

// Routes returns the routes.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, adminPath)
	run, ok := operations[name]
	switch {
	case !ok:
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("no such operation: %q", name)}
	case r.Method != http.MethodPost:
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("operations are called by POST")}
	case a.app == nil:
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("this server's configuration has no registry")}
	}
	arguments, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArguments))
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("read arguments: %w", err)}
	}
	ctx, cancel := context.WithTimeout(r.Context(), startPatience)
	services, release, err := a.app.core.use(ctx)
	cancel()
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("the registry is not ready: %w", err)}
	}
	defer release()
	result, err := run(r.Context(), &services.administration, arguments)
	if err != nil {
		return caddy.APIError{HTTPStatus: operationStatus(err), Err: err}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(result)
}

func operationStatus(err error) int {
	switch {
	case errors.Is(err, errArguments):
		return http.StatusBadRequest
	case errors.Is(err, metadata.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, metadata.ErrExists), errors.Is(err, metadata.ErrReferenced), errors.Is(err, metadata.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, metadata.ErrUnavailable):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// Interface guards.
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
