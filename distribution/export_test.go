package distribution

// EveryRoute returns a method and path for each row of the table of routes, in a repository.
func EveryRoute(repository, digest string) []string {
	paths := map[kind]string{
		kindBase: "/v2/", kindCatalog: "/v2/_catalog", kindTags: "/tags/list", kindReferrers: "/referrers/" + digest, kindManifest: "/manifests/v1",
		kindBlob: "/blobs/" + digest, kindUploads: "/blobs/uploads/", kindUpload: "/blobs/uploads/x",
	}
	requests := make([]string, 0, len(routes))
	for _, r := range routes {
		path, known := paths[r.kind]
		if !known {
			panic("no path is known for kind " + string(r.kind))
		}
		if r.kind != kindBase && r.kind != kindCatalog {
			path = "/v2/" + repository + path
		}
		requests = append(requests, r.method+" "+path)
	}
	return requests
}
