// Command berth is a container registry in one binary: Caddy with Berth's modules.
package main

import (
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/berth-registry/berth/caddymodules/command"
	_ "github.com/berth-registry/berth/caddymodules/standard"
)

func main() {
	caddy.CustomBinaryName = "berth"
	asked, err := command.Help(os.Stdout, os.Args, about)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(caddy.ExitCodeFailedStartup)
	}
	if asked {
		return
	}
	os.Args = command.Arguments(os.Args)
	caddycmd.Main()
}

// about is what help begins with.
const about = `Berth is a container registry: docker push and docker pull, with users, projects and roles, on a directory
or on S3 and PostgreSQL. It is Caddy with Berth's modules, so the configuration is a Caddyfile.

  berth run        serves what the Caddyfile in this directory says
  berth doctor     says whether it can
  berth user, berth project, berth member
                   manage who may do what, whether the server runs or not`
