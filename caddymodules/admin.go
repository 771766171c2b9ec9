package caddymodules

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/berth-registry/berth/api"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

const (
	adminPath = "/berth/"
	// adminSocket is where the shipped Caddyfile has the admin endpoint, in the data directory.
	adminSocket = "admin.sock"
)

// adminStarted is set once this process has started an admin endpoint with Berth's routes.
var adminStarted atomic.Bool

// Admin adds the management API to Caddy's admin endpoint, below /berth, for the commands of whoever operates the machine.
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

// serve hands a request to the API, as one of the operator.
func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	if a.app == nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("this server's configuration has no registry")}
	}
	services, release, err := a.app.core.use(r.Context())
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("the registry is not ready: %w", err)}
	}
	defer release()
	http.StripPrefix(strings.TrimSuffix(adminPath, "/"), services.api).ServeHTTP(w, r.WithContext(api.AsOperator(r.Context())))
	return nil
}

// Interface guards.
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
