package policy

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Role is a member's role in a project, by Harbor's number.
type Role int

// The roles. The strongest first: projectAdmin, maintainer, developer, guest, limitedGuest.
const (
	ProjectAdmin Role = 1
	Developer    Role = 2
	Guest        Role = 3
	Maintainer   Role = 4
	LimitedGuest Role = 5
)

// Roles are all roles, the strongest first.
var Roles = []Role{ProjectAdmin, Maintainer, Developer, Guest, LimitedGuest}

// Strongest returns the strongest of roles by number, 0 when there is none.
func Strongest(numbers []int) Role {
	for _, role := range Roles {
		if slices.Contains(numbers, int(role)) {
			return role
		}
	}
	return 0
}

// String returns the role's name, as in policy rows after "role:"; "none" for what is not a role.
func (r Role) String() string {
	if name, known := strings.CutPrefix(r.subject(), "role:"); known {
		return name
	}
	return "none"
}

// subject returns the role as a policy subject, "" for what is not a role. Constants keep the hot path free of allocation.
func (r Role) subject() string {
	switch r {
	case ProjectAdmin:
		return "role:projectAdmin"
	case Developer:
		return "role:developer"
	case Guest:
		return "role:guest"
	case Maintainer:
		return "role:maintainer"
	case LimitedGuest:
		return "role:limitedGuest"
	}
	return ""
}

// ParseRole reads a role's name. It returns an error that lists the names when it is none of them.
func ParseRole(name string) (Role, error) {
	names := make([]string, len(Roles))
	for i, role := range Roles {
		if strings.EqualFold(role.String(), name) {
			return role, nil
		}
		names[i] = role.String()
	}
	return 0, fmt.Errorf("role %q is not one of %s", name, strings.Join(names, ", "))
}

var (
	//go:embed model.conf
	modelText string
	//go:embed policy.csv
	policyText string
)

// The subjects besides roles and users.
const (
	// anyone is everybody, in a public project and to the registry itself.
	anyone = "anyone"
	// authenticated is who has logged in, and owner whose thing it is, both to the registry itself.
	authenticated = "authenticated"
	owner         = "owner"
)

// system is the domain of the registry itself.
const system = "/"

// rememberedVerdicts bounds the answers kept of the rows; without custom rows there are a few hundred questions at all.
const rememberedVerdicts = 16384

// matrix answers from the policy rows. Casbin walks all of them for each question, so its answers are kept: the rows do not
// change while it lives.
type matrix struct {
	mu       sync.Mutex // Casbin's role manager is not safe for concurrent use with matching domains
	enforcer *casbin.Enforcer
	verdicts *lru.Cache[question, bool]
	// domains are the projects that rows name; all others are alike, and asked about as one.
	domains map[string]bool
	// users are the people that rows name.
	users map[string]bool
}

type question struct {
	subject, domain, kind string
	action                Action
}

func newMatrix(extra [][]string) (*matrix, error) {
	parsed, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, fmt.Errorf("read policy model: %w", err)
	}
	enforcer, err := casbin.NewEnforcer(parsed)
	if err != nil {
		return nil, fmt.Errorf("make policy enforcer: %w", err)
	}
	enforcer.AddNamedDomainMatchingFunc("g", "allProjects", func(asked, row string) bool { return row == "*" || asked == row })
	verdicts, err := lru.New[question, bool](rememberedVerdicts)
	if err != nil {
		return nil, fmt.Errorf("make policy cache: %w", err)
	}
	m := &matrix{enforcer: enforcer, verdicts: verdicts, domains: map[string]bool{}, users: map[string]bool{}}
	rows, err := ParseRows(strings.NewReader(policyText))
	if err != nil {
		return nil, err
	}
	for i, row := range slices.Concat(rows, extra) {
		if err := m.add(row); err != nil {
			return nil, fmt.Errorf("policy row %d %q: %w", i-len(rows)+1, strings.Join(row, ", "), err)
		}
	}
	return m, nil
}

// ParseRows reads policy rows of an operator from comma-separated text: "p, subject, project, resource, action" grants,
// "g, member, role, project" makes a user ("user:alice") or role a holder of another role. Lines with # are comments. It
// returns an error when the text is not comma-separated; the rows themselves are judged by [New].
func ParseRows(text io.Reader) ([][]string, error) {
	reader := csv.NewReader(text)
	reader.Comment = '#'
	reader.TrimLeadingSpace = true
	reader.FieldsPerRecord = -1
	rows, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read policy rows: %w", err)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
	}
	return rows, nil
}

func (m *matrix) add(row []string) error {
	if slices.Contains(row, "") {
		return errors.New("a field is empty")
	}
	var subjects []string
	var domain string
	switch {
	case len(row) == 5 && row[0] == "p":
		subjects, domain = row[1:2], row[2]
	case len(row) == 4 && row[0] == "g":
		subjects, domain = row[1:3], row[3]
	default:
		return errors.New(`want "p, subject, project, resource, action" or "g, member, role, project"`)
	}
	for _, subject := range subjects {
		user, isUser := strings.CutPrefix(subject, "user:")
		if !isUser && !strings.HasPrefix(subject, "role:") && subject != anyone && subject != authenticated && subject != owner {
			return fmt.Errorf("subject %q does not begin with role: or user:, nor is it anyone, authenticated or owner", subject)
		}
		if isUser {
			m.users[user] = true
		}
	}
	if domain != "*" {
		m.domains[domain] = true
	}
	fields := make([]any, len(row)-1)
	for i, field := range row[1:] {
		fields[i] = field
	}
	var err error
	if row[0] == "p" {
		_, err = m.enforcer.AddPolicy(fields...)
	} else {
		_, err = m.enforcer.AddGroupingPolicy(fields...)
	}
	return err
}

// allows answers for one subject: "role:developer", "user:alice" or [anyone].
func (m *matrix) allows(subject string, action Action, resource Resource) (bool, error) {
	q := question{subject: subject, domain: "*", kind: resource.Kind, action: action}
	if resource.Project == "" {
		q.domain = system
	} else if m.domains[resource.Project] {
		q.domain = resource.Project
	}
	if allowed, found := m.verdicts.Get(q); found {
		return allowed, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	allowed, err := m.enforcer.Enforce(q.subject, q.domain, q.kind, string(q.action))
	if err != nil {
		return false, fmt.Errorf("ask policy about %s %s %s: %w", subject, action, resource.Kind, err)
	}
	m.verdicts.Add(q, allowed)
	return allowed, nil
}

// ProjectPermissions returns what can be allowed in a project at all: what its administrators may.
var ProjectPermissions = sync.OnceValue(func() (all []ProjectPermission) {
	rows, err := ParseRows(strings.NewReader(policyText))
	if err != nil {
		panic(err) // ours always parse
	}
	for _, row := range rows {
		if row[1] == ProjectAdmin.subject() {
			all = append(all, ProjectPermission{Kind: row[3], Action: Action(row[4])})
		}
	}
	return all
})

// ProjectPermission is an action on a kind of resource in a project.
type ProjectPermission struct {
	Kind   string
	Action Action
}
