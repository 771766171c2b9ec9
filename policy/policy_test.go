package policy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/policy"
)

// matrix is Harbor's table: C create, R read, U update, D delete, L list; the columns are projectAdmin, maintainer, developer,
// guest, limitedGuest, and anyone in a public project.
const matrix = `
project             | RUD                | R                  | R              | R       | R       | R
member              | CRUDL              | RL                 | RL             | RL      |         |
metadata            | CRUD               | R                  |                |         |         |
log                 | L                  |                    |                |         |         |
label               | CRUDL              | CRUDL              | RL             | RL      |         | RL
quota               | R                  | R                  | R              | R       | R       |
repository          | CRUDL pull push    | CRUDL pull push    | CRUL pull push | RL pull | RL pull | L pull
tag-retention       | CRUDL operate      | CRUDL operate      | CRUDL operate  |         |         |
immutable-tag       | CUDL               | CUDL               |                |         |         |
configuration       | RU                 | R                  | R              | R       | R       |
robot               | CRUDL              | RL                 | RL             | RL      |         |
notification-policy | CRUDL              | RL                 |                |         |         |
scan                | CR stop            | CR stop            | R              | R       | R       | R
sbom                | CR stop            | CR stop            | R              | R       | R       |
scanner             | CR                 | R                  | R              | R       | R       | R
artifact            | CRDL               | CRDL               | CRL            | RL      | RL      | RL
artifact-addition   | R                  | R                  | R              | R       | R       | R
tag                 | CDL                | CDL                | CL             | L       | L       | L
accessory           | L                  | L                  | L              | L       | L       | L
artifact-label      | CD                 | CD                 | CD             |         |         |
preheat-policy      | CRUDL              |                    |                |         |         |
export-cve          | CRL                | CRL                | CRL            |         |         |
`

var (
	columns = []policy.Role{policy.ProjectAdmin, policy.Maintainer, policy.Developer, policy.Guest, policy.LimitedGuest}
	actions = []policy.Action{"create", "read", "update", "delete", "list", "pull", "push", "stop", "operate", "invented"}
	letters = map[rune]policy.Action{'C': "create", 'R': "read", 'U': "update", 'D': "delete", 'L': "list"}
)

// table returns what each column allows, by kind.
func table() map[string][6][]policy.Action {
	parsed := map[string][6][]policy.Action{"invented": {}}
	for line := range strings.Lines(strings.TrimSpace(matrix)) {
		cells := strings.Split(line, "|")
		var row [6][]policy.Action
		for i, cell := range cells[1:] {
			for word := range strings.FieldsSeq(cell) {
				if strings.ToUpper(word) != word {
					row[i] = append(row[i], policy.Action(word))
					continue
				}
				for _, letter := range word {
					row[i] = append(row[i], letters[letter])
				}
			}
		}
		parsed[strings.TrimSpace(cells[0])] = row
	}
	return parsed
}

type fixture struct {
	store    *metadata.Store
	accounts *identity.Accounts
	rbac     *policy.RBAC
	mu       sync.Mutex
	time     time.Time
	people   map[string]identity.Principal
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

func (f *fixture) tx(t testing.TB, fn func(ctx context.Context, tx *metadata.Tx) error) {
	t.Helper()
	require.NoError(t, f.store.Tx(t.Context(), fn))
}

// newFixture has the projects "open" and "closed", in each a member of every role by the role's name, "root" who is system
// administrator and "stranger" who is nobody anywhere.
func newFixture(t testing.TB, extra ...[]string) *fixture {
	t.Helper()
	store := sqlitetest.Open(t)
	f := &fixture{store: store, time: time.Unix(2_000_000_000, 0), people: map[string]identity.Principal{}}
	f.accounts = identity.NewAccounts(store, f.now)
	var err error
	f.rbac, err = policy.New(policy.Options{Memberships: store, Accounts: f.accounts, ExtraPolicies: extra, Now: f.now})
	require.NoError(t, err)
	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
		names := []string{"root", "stranger"}
		for _, role := range columns {
			names = append(names, role.String())
		}
		for _, name := range names {
			user, err := tx.CreateUser(ctx, metadata.User{Name: name, SystemAdmin: name == "root"})
			if err != nil {
				return err
			}
			f.people[name] = identity.Principal{Kind: identity.KindUser, ID: user.ID, Name: name, CredentialVersion: user.CredentialVersion}
		}
		for _, name := range []string{"open", "closed"} {
			project, err := tx.CreateProject(ctx, metadata.Project{Name: name, Public: name == "open"})
			if err != nil {
				return err
			}
			for _, role := range columns {
				member := metadata.Member{ProjectID: project.ID, UserID: f.people[role.String()].ID, RoleID: int(role)}
				if _, err := tx.SetMember(ctx, member); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return f
}

func (f *fixture) allows(t testing.TB, who identity.Principal, action policy.Action, resource policy.Resource) bool {
	t.Helper()
	decision, err := f.rbac.Authorize(t.Context(), who, action, resource)
	require.NoError(t, err)
	require.NotEmpty(t, decision.Reason)
	return decision.Allowed
}

func TestAuthorize_wholeMatrix(t *testing.T) {
	f := newFixture(t)
	for kind, row := range table() {
		for _, action := range actions {
			inPublic := slices.Contains(row[5], action)
			for i, role := range columns {
				who, allowed := f.people[role.String()], slices.Contains(row[i], action)
				require.Equal(t, allowed, f.allows(t, who, action, policy.Resource{Project: "closed", Kind: kind}), "%s %s %s", role, action, kind)
				require.Equal(t, allowed || inPublic, f.allows(t, who, action, policy.Resource{Project: "open", Kind: kind}), "%s %s %s in public", role, action, kind)
			}
			for _, who := range []identity.Principal{f.people["stranger"], identity.Anonymous} {
				require.False(t, f.allows(t, who, action, policy.Resource{Project: "closed", Kind: kind}), "%s %s %s", who.Name, action, kind)
				require.Equal(t, inPublic, f.allows(t, who, action, policy.Resource{Project: "open", Kind: kind}), "%s %s %s in public", who.Name, action, kind)
			}
			for _, project := range []string{"open", "closed", "absent", ""} {
				require.True(t, f.allows(t, f.people["root"], action, policy.Resource{Project: project, Kind: kind}))
			}
			for name, who := range f.people {
				require.Equal(t, name == "root", f.allows(t, who, action, policy.Resource{Project: "absent", Kind: kind}))
			}
		}
	}
	for _, who := range []identity.Principal{identity.Anonymous, f.people["stranger"], f.people["root"]} {
		require.True(t, f.allows(t, who, policy.List, policy.Catalog))
	}
	require.False(t, f.allows(t, f.people["stranger"], policy.Delete, policy.Catalog))
}

func TestAuthorize_denies(t *testing.T) {
	f := newFixture(t)
	repository := policy.Repository("open")
	for name, who := range map[string]identity.Principal{
		"nobody":              {},
		"unknown kind":        {Kind: "robot", ID: 1},
		"deleted user":        {Kind: identity.KindUser, ID: 4711, Name: "gone", CredentialVersion: 1},
		"forged admin flag":   {Kind: identity.KindUser, ID: 4711, SystemAdmin: true},
		"earlier credentials": {Kind: identity.KindUser, ID: f.people["root"].ID, CredentialVersion: 0},
	} {
		t.Run(name, func(t *testing.T) { require.False(t, f.allows(t, who, policy.Pull, repository)) })
	}
	pretender := f.people["stranger"]
	pretender.SystemAdmin = true
	require.False(t, f.allows(t, pretender, policy.Push, repository), "only the row makes a system administrator")
}

func TestAuthorize_revokedMemberWithinStaleness(t *testing.T) {
	f := newFixture(t)
	who, repository := f.people["developer"], policy.Repository("closed")
	remove := func(userID int64) {
		f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
			project, err := tx.Project(ctx, "closed")
			if err != nil {
				return err
			}
			return tx.RemoveMember(ctx, project.ID, userID)
		})
	}
	require.True(t, f.allows(t, who, policy.Push, repository))
	remove(who.ID)
	require.True(t, f.allows(t, who, policy.Push, repository), "another gateway may still believe it")
	f.advance(policy.MembershipStaleness)
	require.False(t, f.allows(t, who, policy.Push, repository))

	guest := f.people["guest"]
	require.True(t, f.allows(t, guest, policy.Pull, repository))
	remove(guest.ID)
	f.rbac.Invalidate("closed")
	require.False(t, f.allows(t, guest, policy.Pull, repository), "at once where it was revoked")
}

func TestAuthorize_newMemberAndProjectWithinASecond(t *testing.T) {
	f := newFixture(t)
	who := f.people["stranger"]
	require.False(t, f.allows(t, who, policy.Pull, policy.Repository("later")))
	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateProject(ctx, metadata.Project{Name: "later", Public: true})
		return err
	})
	f.advance(policy.AbsenceStaleness)
	require.True(t, f.allows(t, who, policy.Pull, policy.Repository("later")))
}

func TestAuthorize_disabledUserWithinStaleness(t *testing.T) {
	f := newFixture(t)
	who := f.people["root"]
	require.True(t, f.allows(t, who, policy.Push, policy.Repository("closed")))
	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.UserByID(ctx, who.ID)
		if err != nil {
			return err
		}
		user.Disabled = true
		_, err = tx.UpdateUser(ctx, user)
		return err
	})
	f.advance(identity.AccountStaleness)
	require.False(t, f.allows(t, who, policy.Push, policy.Repository("closed")))
}

func TestAuthorize_databaseDown(t *testing.T) {
	f := newFixture(t)
	who, known := f.people["developer"], policy.Repository("closed")
	require.True(t, f.allows(t, who, policy.Push, known))
	require.NoError(t, f.store.Close())
	f.advance(policy.MembershipOutage)
	require.True(t, f.allows(t, who, policy.Push, known), "what was known stands in for a minute")

	decision, err := f.rbac.Authorize(t.Context(), who, policy.Push, policy.Repository("open"))
	require.Error(t, err)
	require.False(t, decision.Allowed)
	f.advance(time.Second)
	decision, err = f.rbac.Authorize(t.Context(), who, policy.Push, known)
	require.Error(t, err)
	require.False(t, decision.Allowed)
}

func TestAuthorize_cancelled(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	decision, err := f.rbac.Authorize(ctx, f.people["developer"], policy.Push, policy.Repository("closed"))
	if err != nil {
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, decision.Allowed)
	}
	require.True(t, f.allows(t, f.people["developer"], policy.Push, policy.Repository("closed")), "others are not harmed")
}

func TestAuthorize_concurrent(t *testing.T) {
	f := newFixture(t)
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			for _, role := range columns {
				decision, err := f.rbac.Authorize(t.Context(), f.people[role.String()], policy.Pull, policy.Repository("closed"))
				if err != nil || !decision.Allowed {
					t.Errorf("%s: %v %v", role, decision, err)
				}
				if i%8 == 0 {
					f.rbac.Invalidate("closed")
				}
			}
		})
	}
	group.Wait()
}

func TestNew_extraPolicies(t *testing.T) {
	rows, err := policy.ParseRows(strings.NewReader(`
# auditors read logs everywhere, and one person audits one project
p, role:auditor, *, log, list
g, user:stranger, role:auditor, closed
p, role:guest, open, repository, push
g, role:limitedGuest, role:guest, *
p, user:stranger, closed, quota, *
`))
	require.NoError(t, err)
	f := newFixture(t, rows...)
	stranger := f.people["stranger"]
	in := func(project, kind string) policy.Resource { return policy.Resource{Project: project, Kind: kind} }
	require.True(t, f.allows(t, stranger, policy.List, in("closed", "log")))
	require.False(t, f.allows(t, stranger, policy.List, in("open", "log")), "of that project only")
	require.True(t, f.allows(t, stranger, "invented", in("closed", "quota")))
	require.True(t, f.allows(t, f.people["guest"], policy.Push, policy.Repository("open")))
	require.False(t, f.allows(t, f.people["guest"], policy.Push, policy.Repository("closed")))
	require.True(t, f.allows(t, f.people["limitedGuest"], policy.List, in("closed", "member")), "as guest everywhere")
	require.False(t, f.allows(t, identity.Anonymous, policy.List, in("closed", "log")))
}

func TestNew_refusesMalformedPolicies(t *testing.T) {
	for _, row := range [][]string{
		nil,
		{"p"},
		{"p", "role:a", "*", "log"},
		{"x", "role:a", "*", "log", "list"},
		{"p", "somebody", "*", "log", "list"},
		{"p", "role:a", "", "log", "list"},
		{"g", "alice", "role:a", "*"},
	} {
		_, err := policy.New(policy.Options{ExtraPolicies: [][]string{row}})
		require.ErrorContains(t, err, "policy row 1", fmt.Sprint(row))
	}
}

func TestParseRole(t *testing.T) {
	for _, role := range policy.Roles {
		parsed, err := policy.ParseRole(role.String())
		require.NoError(t, err)
		require.Equal(t, role, parsed)
	}
	_, err := policy.ParseRole("none")
	require.ErrorContains(t, err, "projectAdmin, maintainer, developer, guest, limitedGuest")
	require.Equal(t, "none", policy.Role(9).String())
}

func FuzzParseRows(f *testing.F) {
	f.Add("p, role:auditor, *, log, list")
	f.Add("g, user:a, role:b, *\n# comment\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := policy.ParseRows(strings.NewReader(text))
		if err != nil {
			return
		}
		if _, err := policy.New(policy.Options{ExtraPolicies: rows}); err != nil && !strings.Contains(err.Error(), "policy row") {
			t.Fatal(errors.Unwrap(err))
		}
	})
}

func BenchmarkAuthorize_warm(b *testing.B) {
	f := newFixture(b)
	who, resource := f.people["developer"], policy.Repository("closed")
	b.ReportAllocs()
	for b.Loop() {
		if decision, err := f.rbac.Authorize(b.Context(), who, policy.Push, resource); err != nil || !decision.Allowed {
			b.Fatal(decision, err)
		}
	}
}
