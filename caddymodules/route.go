package caddymodules

import (
	"strings"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/distribution/auth"
)

// The names of routes, for metrics and logs: few, whatever is asked for.
const (
	routeVersion   = "version"
	routeUpload    = "blob_upload"
	routeBlob      = "blob"
	routeManifest  = "manifest"
	routeTags      = "tags"
	routeReferrers = "referrers"
	routeCatalog   = "catalog"
	routeToken     = "token"
	routeKeys      = "token_keys"
	routeAPI       = "api"
	routeEntrance  = "entrance"
	routeLanding   = "landing"
	routeUnknown   = "unknown"
)

// route is where a request belongs; face is "" for what only the whole registry answers.
type route struct {
	name string
	face string
}

// routeOf names the route of a path. What is under /v2 always belongs to the registry's face, also what does not exist there: its
// answer must be the distribution specification's.
func routeOf(path string) route {
	switch path {
	case "/":
		return route{name: routeLanding}
	case tokenPath:
		return route{name: routeToken, face: faceRegistry}
	case keysPath:
		return route{name: routeKeys, face: faceRegistry}
	case "/v2", "/v2/":
		return route{name: routeVersion, face: faceRegistry}
	case "/v2/_catalog":
		return route{name: routeCatalog, face: faceRegistry}
	}
	if rest, ok := strings.CutPrefix(path, "/v2/"); ok {
		return route{name: distributionRoute(rest), face: faceRegistry}
	}
	if strings.HasPrefix(path, api.Prefix+"/") || path == api.VersionPath {
		return route{name: routeAPI, face: faceAPI}
	}
	if strings.HasPrefix(path, api.EntrancePrefix+"/") {
		return route{name: routeEntrance, face: faceAPI}
	}
	if strings.HasPrefix(path, "/api/") {
		return route{name: routeUnknown, face: faceAPI}
	}
	return route{name: routeUnknown}
}

// distributionRoute reads the route off the end of the path, as a repository's name may itself contain any of these words.
func distributionRoute(rest string) string {
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	at := func(fromEnd int) string {
		if fromEnd > len(parts) {
			return ""
		}
		return parts[len(parts)-fromEnd]
	}
	switch {
	case at(2) == "manifests":
		return routeManifest
	case at(1) == "list" && at(2) == "tags":
		return routeTags
	case at(2) == "referrers":
		return routeReferrers
	case at(1) == "uploads" && at(2) == "blobs", at(2) == "uploads" && at(3) == "blobs":
		return routeUpload
	case at(2) == "blobs":
		return routeBlob
	default:
		return routeDistributionOther
	}
}

// routeDistributionOther is what is under /v2 and no route of the specification.
const routeDistributionOther = "distribution_other"

// The addresses that the token service has.
const (
	tokenPath = auth.TokenPath
	keysPath  = auth.KeysPath
)
