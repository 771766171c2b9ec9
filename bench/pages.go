package main

import (
	"fmt"
	"strings"
)

// listPage is a page of a list; the path is that of the nth of its kind, so that nobody asks for the same one twice.
type listPage struct {
	what string
	path func(c census, n int) string
	by   viewer
}

// viewer is who asks for a page.
type viewer int

const (
	administrator viewer = iota
	nobody
	// reader is a user without any rights of their own but in library.
	reader
)

// list is a list of the API.
type list struct {
	name string
	path string
	// length is how many entries it has; 0 is for answers that have no pages.
	length func(census) int
	// filters are conditions, each with what it is.
	filters [][2]string
	// always is a condition on every page, "" for none.
	always string
	// sort is an order other than the list's own, "" for none.
	sort string
	by   viewer
}

// listsOf returns the lists that are measured. Filters are of the kinds that are hard: what nothing has, what almost everything has,
// and what few among many have.
func listsOf() []list {
	const artifacts = "/api/v2.0/projects/library/repositories/bench/artifacts"
	projects := func(c census) int { return c.projects }
	repositories := func(c census) int { return c.repositories }
	seen := func(c census) int { return c.repositories / 10 * 6 }
	half := func(c census) int { return c.repositories / 2 }
	held := func(c census) int { return c.tags / tagsOfEach }
	entries := func(c census) int { return c.entries }
	halfOfEntries := func(c census) int { return c.entries / 2 }
	none := func(census) int { return 0 }
	return []list{
		{name: "projects", path: "/api/v2.0/projects", length: projects, sort: "-creation_time", filters: [][2]string{
			{"by a name", "name=p0000042"},
			{"by a part of most names", "name=~p00"},
			{"by a part of a hundred names", "name=~p00000"},
			{"by a part of no name", "name=~zzqx"},
			{"that are private", "public=false"},
		}},
		{name: "projects in view", path: "/api/v2.0/projects", length: func(c census) int { return c.projects / 10 }, by: nobody, filters: [][2]string{
			{"by a part of no name", "name=~zzqx"},
		}},
		{name: "repositories", path: "/api/v2.0/repositories", length: repositories, sort: "name", filters: [][2]string{
			{"by a part of one name", "name=~r0000042"}, {"by a part of most names", "name=~/r00"}, {"by a part of no name", "name=~zzqx"},
		}},
		{name: "repositories in view", path: "/api/v2.0/repositories", length: seen, by: nobody, filters: [][2]string{{"by a part of one name", "name=~r0000041"}}},
		{name: "repositories of a project", path: "/api/v2.0/projects/library/repositories", length: half, sort: "-update_time", filters: [][2]string{
			{"by a part of one name", "name=~r0000042"}, {"by a part of most names", "name=~/r00"}, {"by a part of no name", "name=~zzqx"},
		}},
		{name: "artifacts with tags", path: artifacts + "?with_tag=true", length: held, sort: "-push_time", filters: [][2]string{
			{"by a tag", "tags=seed-0000042"},
			{"by a part of few tags", "tags=~000042"},
			{"by a part of most tags", "tags=~seed"},
			{"by a part of no tag", "tags=~zzqx"},
			{"of a rare kind", "type=CHART"},
			{"of a kind that is not there", "type=SBOM"},
		}},
		{name: "artifacts of a project", path: "/api/v2.0/projects/library/artifacts", length: held, filters: [][2]string{
			{"by a tag", "tags=seed-0000042"}, {"by a part of few tags", "tags=~000042"},
		}},
		{name: "tags of an artifact", path: artifacts + "/seed-0000001/tags", length: none, filters: [][2]string{{"by a name", "name=seed-0000002"}}},
		{name: "members", path: "/api/v2.0/projects/library/members", length: projects, filters: [][2]string{{"by a part of no name", "entity_name=~zzqx"}}},
		{name: "robots of a project", path: "/api/v2.0/robots", always: "level=project,project_id=1", length: projects, filters: [][2]string{{"by a part of no name", "name=~zzqx"}}},
		{name: "labels of a project", path: "/api/v2.0/labels?scope=p&project_id=1", length: projects, filters: [][2]string{{"by a part of no name", "name=~zzqx"}}},
		{name: "users", path: "/api/v2.0/users", length: projects, filters: [][2]string{{"by a part of no name", "username=~zzqx"}}},
		{name: "groups", path: "/api/v2.0/usergroups", length: projects, filters: [][2]string{{"by a part of no name", "group_name=~zzqx"}}},
		{name: "quotas", path: "/api/v2.0/quotas", length: projects, filters: [][2]string{{"of a project", "reference_id=1042"}}},
		{name: "audit log", path: "/api/v2.0/auditlog-exts", length: entries, sort: "op_time", filters: [][2]string{
			{"by a user", "username=user7"},
			{"by a user and an operation", "username=user7,operation=delete"},
			{"by a user who did nothing", "username=nobody"},
			{"by a part of no resource", "resource=~zzqx"},
			{"by a part of few resources", "resource=~r0000042"},
			{"of a rare operation and a part of a resource", "operation=delete,resource=~r0000042"},
		}},
		{name: "audit log of a project", path: "/api/v2.0/projects/library/auditlog-exts", length: halfOfEntries, filters: [][2]string{{"by an operation", "operation=delete"}}},
		{name: "search for what few names have", path: "/api/v2.0/search?q=r0000042", length: none},
		{name: "search for what all names have", path: "/api/v2.0/search?q=r00", length: none},
		{name: "search for what no name has", path: "/api/v2.0/search?q=zzqx", length: none},
		{name: "search in view for what no name has", path: "/api/v2.0/search?q=zzqx", length: none, by: nobody},
		{name: "statistics", path: "/api/v2.0/statistics", length: none},
		{name: "volumes", path: "/api/v2.0/systeminfo/volumes", length: none},
		{name: "summary of a project", path: "/api/v2.0/projects/library/summary", length: none},
		{name: "registries elsewhere", path: "/api/v2.0/registries", length: func(c census) int { return c.projects / 10 }, filters: [][2]string{{"by a name", "name=registry0000007"}}},
		{name: "replication policies", path: "/api/v2.0/replication/policies", length: projects, filters: [][2]string{{"by a name", "name=policy0000042"}}},
		{name: "replications of a policy", path: "/api/v2.0/replication/executions?policy_id=1001", length: none},
		{name: "replications", path: "/api/v2.0/replication/executions", length: func(c census) int { return c.tags / tagsOfEach / 2 }, filters: [][2]string{
			{"by a status that none has", "status=Error"},
		}},
		{name: "tasks of a replication", path: "/api/v2.0/replication/executions/1001/tasks", length: func(c census) int { return c.tags / tagsOfEach / 2 }, filters: [][2]string{{"by a rare status", "status=Error"}}},
		{name: "webhooks of a project", path: "/api/v2.0/projects/library/webhook/policies", length: projects, filters: [][2]string{{"by a name", "name=webhook0000042"}}},
		{name: "deliveries of a webhook", path: "/api/v2.0/projects/library/webhook/policies/1000/executions", length: none},
		{name: "garbage collections", path: "/api/v2.0/system/gc", length: func(c census) int { return c.tags / tagsOfEach / 100 }},
		{name: "schedules", path: "/api/v2.0/schedules", length: projects, filters: [][2]string{{"of a kind that is not there", "vendor_type=SCAN_ALL"}}},
		{name: "deletions of a project", path: "/api/v2.0/projects/library/deletions", length: held, filters: [][2]string{{"from a repository without any", "repository_name=library/none"}}},
		{name: "projects of a reader", path: "/api/v2.0/projects", length: func(c census) int { return c.projects / 10 }, by: reader, filters: [][2]string{
			{"by a part of no name", "name=~zzqx"},
		}},
		{name: "repositories of a reader", path: "/api/v2.0/repositories", length: seen, by: reader, filters: [][2]string{
			{"by a part of one name", "name=~r0000042"}, {"by a part of no name", "name=~zzqx"},
		}},
		{name: "/v2 catalog of a reader, a page from the middle", path: "/v2/_catalog?n=100&last=library/r0000400", length: none, by: reader},
		{name: "/v2 catalog, a page from the middle", path: "/v2/_catalog?n=100&last=library/r0000400", length: none},
		{name: "/v2 tags, a page from the middle", path: "/v2/" + repository + "/tags/list?n=100&last=seed-0005000", length: none},
	}
}

// pages are those that are measured of the list.
func (l list) pages() []listPage {
	with := func(what, parameters string) listPage {
		separator := "?"
		if strings.Contains(l.path, "?") {
			separator = "&"
		}
		if l.always != "" {
			parameters = "q=" + l.always + "&" + parameters
			parameters = strings.Replace(parameters, "&q=", ",", 1)
		}
		return listPage{what: l.name + what, by: l.by, path: func(census, int) string { return l.path + separator + parameters }}
	}
	pages := []listPage{with(", first page", "page=1")}
	if l.length(census{1 << 20, 1 << 20, 1 << 20, 1 << 20}) == 0 {
		pages = []listPage{{what: l.name, by: l.by, path: func(census, int) string { return l.path }}}
	} else {
		at := func(what, parameters string, page func(last, n int) int) listPage {
			p := with(what, parameters)
			path := p.path
			p.path = func(c census, n int) string {
				return path(c, n) + fmt.Sprintf("&page=%d", max(1, page(max(1, l.length(c)/10), n)))
			}
			return p
		}
		middle := func(last, n int) int { return last/2 + 3*n%max(1, last/8) }
		pages = append(pages, at(", middle page", "page_size=10", middle), at(", last page", "page_size=10", func(last, _ int) int { return last }))
		if l.sort != "" {
			pages = append(pages, with(", first page by "+l.sort, "sort="+l.sort), at(", middle page by "+l.sort, "page_size=10&sort="+l.sort, middle))
		}
	}
	for _, f := range l.filters {
		pages = append(pages, with(" "+f[0], "q="+f[1]))
	}
	return pages
}
