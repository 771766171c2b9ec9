// Package standard has all kinds of registry elsewhere that Berth comes with.
package standard

import (
	_ "github.com/berth-registry/berth/replicate/adapter/acr"          // Azure
	_ "github.com/berth-registry/berth/replicate/adapter/artifactory"  // JFrog
	_ "github.com/berth-registry/berth/replicate/adapter/distribution" // any other
	_ "github.com/berth-registry/berth/replicate/adapter/dockerhub"    // Docker Hub
	_ "github.com/berth-registry/berth/replicate/adapter/ecr"          // Amazon
	_ "github.com/berth-registry/berth/replicate/adapter/gcr"          // Google
	_ "github.com/berth-registry/berth/replicate/adapter/ghcr"         // GitHub
	_ "github.com/berth-registry/berth/replicate/adapter/gitlab"       // GitLab
	_ "github.com/berth-registry/berth/replicate/adapter/harbor"       // Harbor and Berth
	_ "github.com/berth-registry/berth/replicate/adapter/quay"         // Quay
)
