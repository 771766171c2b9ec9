// Package gcr is Google's Container Registry and Artifact Registry: an ordinary registry that one logs in to with the key file of a
// service account.
package gcr

import "github.com/berth-registry/berth/replicate/adapter"

func init() {
	adapter.Register(adapter.Kind{
		Name: "google-gcr", Username: "_json_key", SecretFile: true, Open: adapter.Open,
		Endpoints: []adapter.Endpoint{
			{Name: "gcr.io", URL: "https://gcr.io"},
			{Name: "us.gcr.io", URL: "https://us.gcr.io"},
			{Name: "eu.gcr.io", URL: "https://eu.gcr.io"},
			{Name: "asia.gcr.io", URL: "https://asia.gcr.io"},
			{Name: "us-docker.pkg.dev", URL: "https://us-docker.pkg.dev"},
			{Name: "europe-docker.pkg.dev", URL: "https://europe-docker.pkg.dev"},
			{Name: "asia-docker.pkg.dev", URL: "https://asia-docker.pkg.dev"},
		},
	})
}
