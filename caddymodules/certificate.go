package caddymodules

import (
	"encoding/pem"
	"net/http"

	"github.com/berth-registry/berth/api"
)

const certificatePath = api.Prefix + "/systeminfo/getcert"

// appKey marks the app that a request of the API came through: cores outlive configurations, whose authorities may differ.
type appKey struct{}

// certificateOf returns the public certificate of Caddy's internal authority, for clients to trust; nil where certificates come from
// elsewhere.
func certificateOf(r *http.Request) ([]byte, error) {
	app, ok := r.Context().Value(appKey{}).(*App)
	if !ok {
		return nil, nil
	}
	authority, err := app.authority()
	if err != nil || authority == nil || authority.RootCertificate() == nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.RootCertificate().Raw}), nil
}
