package caddymodules

import (
	"encoding/pem"
	"net/http"

	"github.com/berth-registry/berth/api"
)

const certificatePath = api.Prefix + "/systeminfo/getcert"

// serveCertificate answers with the public certificate of Caddy's internal authority, for clients to trust. There is none where
// certificates come from elsewhere.
func (a *App) serveCertificate(w http.ResponseWriter, r *http.Request) {
	if !allowRead(w, r) {
		return
	}
	authority, err := a.authority()
	if err != nil {
		newLogger().ErrorContext(r.Context(), "find the certificate authority", "error", err)
		refuse(w, route{face: faceAPI}, http.StatusInternalServerError, messageOf(http.StatusInternalServerError))
		return
	}
	if authority == nil || authority.RootCertificate() == nil {
		refuse(w, route{face: faceAPI}, http.StatusNotFound, "this registry's certificate is not of its own authority")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="ca.crt"`)
	_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: authority.RootCertificate().Raw})
}

// allowRead refuses methods other than GET and HEAD.
func allowRead(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, routeOf(r.URL.Path), http.StatusMethodNotAllowed, "only GET and HEAD are allowed here")
	return false
}
