package caddymodules

import (
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// clientAddress is the client's address as Caddy knows it, who believes trusted proxies only.
func clientAddress(r *http.Request) string {
	if address, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && address != "" {
		return address
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// clientScheme is the scheme that the client used: that of the connection, or what a trusted proxy in front says.
func clientScheme(r *http.Request) string {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		switch forwarded := r.Header.Get("X-Forwarded-Proto"); forwarded {
		case "http", "https":
			return forwarded
		}
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
