package api

import (
	"net/http"

	"github.com/berth-registry/berth/policy"
)

func (a *API) systemRoutes() []Route {
	return []Route{
		define(Route{
			ID: "getPing", Tag: "ping", Method: http.MethodGet, Path: "/ping", Summary: "Tells that the registry answers",
			Permission: inSystem("ping", policy.Read),
		}, func(*Call, struct{}) (Text, error) { return "Pong", nil }),
	}
}
