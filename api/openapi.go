package api

import (
	_ "embed"
	"html/template"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-registry/berth/policy"
)

// descriptionRoutes serve the description of the API, for programs and for people.
func (a *API) descriptionRoutes() []Route {
	describe := sync.OnceValues(a.Description)
	permission := inSystem("description", policy.Read)
	return []Route{
		define(Route{
			ID: "getDescription", Tag: "description", Method: http.MethodGet, Path: "/openapi.json", Permission: permission,
			Summary: "Describes this API by OpenAPI 3.1", Produces: []string{contentJSON},
		}, func(*Call, struct{}) (Raw, error) {
			_, encoded := describe()
			return Raw{ContentType: contentJSON, Body: encoded}, nil
		}),
		define(Route{
			ID: "getDocumentation", Tag: "description", Method: http.MethodGet, Path: "/docs", Permission: permission,
			Summary: "Describes this API on a page to read", Produces: []string{"text/html"},
		}, func(*Call, struct{}) (Raw, error) {
			described, _ := describe()
			var page strings.Builder
			if err := documentation.Execute(&page, map[string]any{"Info": described.Info, "Operations": a.documented(described)}); err != nil {
				return Raw{}, err
			}
			return Raw{ContentType: "text/html; charset=utf-8", Body: []byte(page.String())}, nil
		}),
	}
}

// documentedOperation is an operation on the page.
type documentedOperation struct {
	Method, Path string
	Operation    *huma.Operation
}

// documented returns the operations in the order of the route table.
func (a *API) documented(described *huma.OpenAPI) []documentedOperation {
	operations := make([]documentedOperation, 0, len(a.routes))
	for _, route := range a.routes {
		operation := *operationOf(described.Paths[route.Path], route.Method)
		operations = append(operations, documentedOperation{route.Method, Prefix + route.Path, operation})
	}
	return operations
}

//go:embed documentation.html
var documentationText string

var documentation = template.Must(template.New("documentation").Parse(documentationText))

// Description returns the OpenAPI 3.1 description of the route table, and its JSON.
func (a *API) Description() (*huma.OpenAPI, []byte) {
	schemas := huma.NewMapRegistry("#/components/schemas/", schemaName)
	schemas.RegisterTypeAlias(reflect.TypeFor[Time](), reflect.TypeFor[time.Time]())
	described := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Berth", Version: "2.0",
			Description: "The management API of the Berth registry. Clients written for Harbor's API 2.0 can use it.",
		},
		Servers: []*huma.Server{{URL: Prefix}},
		Components: &huma.Components{
			Schemas:         schemas,
			SecuritySchemes: map[string]*huma.SecurityScheme{"basic": {Type: "http", Scheme: "basic"}},
		},
		Security: []map[string][]string{{"basic": {}}, {}},
		Paths:    map[string]*huma.PathItem{},
	}
	for _, route := range a.routes {
		item := described.Paths[route.Path]
		if item == nil {
			item = &huma.PathItem{}
			described.Paths[route.Path] = item
		}
		*operationOf(item, route.Method) = route.describe(schemas)
		if !slices.ContainsFunc(described.Tags, func(tag *huma.Tag) bool { return tag.Name == route.Tag }) {
			described.Tags = append(described.Tags, &huma.Tag{Name: route.Tag})
		}
	}
	encoded, err := described.MarshalJSON()
	if err != nil {
		panic(err) // what is made of the route table always encodes
	}
	return described, encoded
}

var notOfNames = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// schemaName names the schema of a type by its package's word and its own, as types of different packages may share one.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := t.Name()
	if name == "" {
		name = hint
	}
	if i := strings.LastIndexByte(name, '/'); i >= 0 { // the argument of a generic type comes with its package's path
		name = name[:strings.IndexByte(name, '[')+1] + name[i+1:]
	}
	return strings.Trim(notOfNames.ReplaceAllString(name, "_"), "_")
}

func operationOf(item *huma.PathItem, method string) **huma.Operation {
	switch method {
	case http.MethodGet:
		return &item.Get
	case http.MethodHead:
		return &item.Head
	case http.MethodPost:
		return &item.Post
	case http.MethodPut:
		return &item.Put
	case http.MethodPatch:
		return &item.Patch
	case http.MethodDelete:
		return &item.Delete
	}
	panic("api: method " + method + " is not described")
}

var pathParameter = regexp.MustCompile(`{(\w+)}`)

func (r Route) describe(schemas huma.Registry) *huma.Operation {
	operation := &huma.Operation{
		OperationID: r.ID, Summary: r.Summary, Tags: []string{r.Tag}, Responses: map[string]*huma.Response{},
		Extensions: map[string]any{"x-permission": r.Permission.describe()},
	}
	described := map[string]bool{}
	for _, field := range reflect.VisibleFields(r.in) {
		if word, ok := field.Tag.Lookup("body"); ok {
			operation.RequestBody = &huma.RequestBody{Required: word != "optional", Content: map[string]*huma.MediaType{
				contentJSON: {Schema: schemas.Schema(field.Type, true, r.ID+"_body")},
			}}
		}
		for _, place := range []string{"path", "query", "header"} {
			if name, ok := field.Tag.Lookup(place); ok {
				described[name] = true
				operation.Parameters = append(operation.Parameters, &huma.Param{
					Name: name, In: place, Description: field.Tag.Get("doc"), Required: place == "path", Schema: schemas.Schema(field.Type, true, ""),
				})
			}
		}
	}
	for _, match := range pathParameter.FindAllStringSubmatch(r.Path, -1) {
		if !described[match[1]] {
			operation.Parameters = append(operation.Parameters, &huma.Param{
				Name: match[1], In: "path", Required: true, Schema: schemas.Schema(reflect.TypeFor[string](), true, ""),
			})
		}
	}
	status, contentType, body := http.StatusOK, contentJSON, r.out
	if described, ok := reflect.TypeAssert[result](reflect.Zero(r.out)); ok {
		status, contentType, body = described.describe()
	}
	success := &huma.Response{Description: http.StatusText(status)}
	if body != nil {
		success.Content = map[string]*huma.MediaType{contentType: {Schema: schemas.Schema(body, true, r.ID+"_result")}}
	}
	for _, produced := range r.Produces {
		if success.Content == nil {
			success.Content = map[string]*huma.MediaType{}
		}
		success.Content[produced] = &huma.MediaType{Schema: &huma.Schema{}} // anything
	}
	operation.Responses[strconv.Itoa(status)] = success
	for _, refused := range r.Statuses {
		operation.Responses[strconv.Itoa(refused)] = &huma.Response{
			Description: http.StatusText(refused),
			Content:     map[string]*huma.MediaType{contentJSON: {Schema: schemas.Schema(reflect.TypeFor[errorBody](), true, "")}},
		}
	}
	return operation
}

// describe says what a caller needs.
func (p Permission) describe() string {
	scope := map[Scope]string{ScopeSystem: "of the registry", ScopeProject: "in the project", ScopeRow: "where it belongs"}
	return string(p.Action) + " " + p.Resource + " " + scope[p.Scope]
}
