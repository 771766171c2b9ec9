// Package acr is the Azure Container Registry: an ordinary registry that one logs in to with the id and secret of a service principal,
// or with the name and password of its administrator or of a token.
package acr

import "github.com/berth-registry/berth/replicate/adapter"

func init() { adapter.Register(adapter.Kind{Name: "azure-acr", Open: adapter.Open}) }
