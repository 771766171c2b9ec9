// Command berth is a container registry in one binary: Caddy with Berth's modules.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/berth-registry/berth/caddymodules/standard"
)

func main() {
	caddycmd.Main()
}
