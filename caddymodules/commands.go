package caddymodules

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/berth-registry/berth/caddymodules/command"
)

func init() {
	command.Register(connect)
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "doctor",
		Short: "Checks the configuration, the database, the storage, the clock and the certificate",
		Long: `Checks what the server needs, one line each, and says what to do about what fails. It changes nothing but a small
object that it writes to the storage, reads and deletes. The exit status is 0 when everything is in order.`,
		CobraFunc: doctorCommand,
	})
}
