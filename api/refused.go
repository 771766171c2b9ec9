package api

import (
	"net/http"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
)

// recordRefusal records that somebody may not make the change that they asked for. Nobody in particular is not worth a record: that
// is what every scanner of the internet is.
func (c *Call) recordRefusal(err error) {
	if status, _, _ := classify(err); status != http.StatusForbidden || c.Principal.Kind == identity.KindAnonymous {
		return
	}
	if c.Method == http.MethodGet || c.Method == http.MethodHead {
		return
	}
	refused := c.actor().Event(event.Refused)
	refused.Attempt = event.Kind(c.route.Permission.Resource + "_" + string(c.route.Permission.Action))
	refused.Project, refused.Subject = c.Project.Name, c.URL.Path
	c.api.options.Record(refused)
}
