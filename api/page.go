package api

import (
	_ "embed"
	"html/template"
	"net/http"
	"strings"
)

// page is what a person sees at an entrance.
type page struct {
	Title   string
	Message string
	// Form is where the name is sent to, "" when none is asked for.
	Form string
	Name string
	// Again is where to log in again, "" when that does not help.
	Again string
}

//go:embed page.html
var pageText string

// show answers with a page.
func (c *Call) show(status int, p page) {
	header := c.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "same-origin") // with none, a form's Origin is null
	c.writer.WriteHeader(status)
	_ = c.api.pages.Execute(c.writer, p) // a browser that has gone cannot be told so
}

// refuse answers with an error: at an entrance, to who reads pages, with a page.
func (c *Call) refuse(status int, code, message string) {
	if c.route.Path == "" && strings.Contains(c.Request.Header.Get("Accept"), "text/html") {
		p := page{Title: http.StatusText(status), Message: message}
		if strings.HasPrefix(c.URL.Path, oidcPath+"/") {
			p.Again = oidcLoginPath
		}
		c.show(status, p)
		return
	}
	writeError(c.writer, status, code, message)
}

func parsePages() *template.Template { return template.Must(template.New("page").Parse(pageText)) }
