package caddymodules

import (
	"context"
	"crypto/rand"
	"net/http"
)

// requestIDHeader carries the request's id to the client, and from a proxy in front that has made one.
const requestIDHeader = "X-Request-Id"

type requestIDKey struct{}

// requestID returns the id of the request that ctx belongs to, "" outside of one.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// withRequestID returns ctx with the request's id: the one it came with where that is fit to be written to a log, else a new
// one.
func withRequestID(r *http.Request) (context.Context, string) {
	id := r.Header.Get(requestIDHeader)
	if !validRequestID(id) {
		id = rand.Text()
	}
	return context.WithValue(r.Context(), requestIDKey{}, id), id
}

func validRequestID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
