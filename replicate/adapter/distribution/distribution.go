// Package distribution is any registry that speaks the distribution specification and has a catalog.
package distribution

import "github.com/berth-registry/berth/replicate/adapter"

func init() { adapter.Register(adapter.Kind{Name: "docker-registry", Open: adapter.Open}) }
