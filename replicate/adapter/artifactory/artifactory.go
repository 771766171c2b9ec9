// Package artifactory is JFrog Artifactory: an ordinary registry whose repositories begin with the name of one of its own.
package artifactory

import "github.com/berth-registry/berth/replicate/adapter"

func init() { adapter.Register(adapter.Kind{Name: "jfrog-artifactory", Open: adapter.Open}) }
