package policy_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

// addRobot makes a robot of a project, or of the registry for "", and returns its principal.
func (f *fixture) addRobot(t testing.TB, name, project string, permissions ...metadata.RobotPermission) identity.Principal {
	t.Helper()
	robot := metadata.Robot{Name: name, PlainName: name, Permissions: permissions, Duration: -1, CreatorKind: "local"}
	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
		for i, p := range robot.Permissions {
			if p.Namespace != "/" && p.Namespace != "*" {
				row, err := tx.Project(ctx, p.Namespace)
				if err != nil {
					return err
				}
				robot.Permissions[i].ProjectID = row.ID
			}
		}
		if project != "" {
			row, err := tx.Project(ctx, project)
			if err != nil {
				return err
			}
			robot.ProjectID = row.ID
		}
		created, err := tx.CreateRobot(ctx, robot)
		robot = created
		return err
	})
	return identity.Principal{Kind: identity.KindRobot, ID: robot.ID, Name: robot.Name, CredentialVersion: robot.SecretVersion}
}

// TestAuthorize_everyRobotPermission gives each cell of the matrix alone to a robot, and asks for all of them.
func TestAuthorize_everyRobotPermission(t *testing.T) {
	f := newFixture(t)
	kinds := table()
	for kind := range kinds {
		for _, action := range actions {
			held := metadata.RobotPermission{Namespace: "closed", Resource: kind, Action: string(action)}
			own := f.addRobot(t, "own "+kind+string(action), "closed", held)
			named := f.addRobot(t, "named "+kind+string(action), "", held)
			held.Namespace = "*"
			all := f.addRobot(t, "all "+kind+string(action), "", held)
			held.Namespace = "/"
			system := f.addRobot(t, "system "+kind+string(action), "", held)
			for _, asked := range actions {
				resource, same := policy.Resource{Project: "closed", Kind: kind}, asked == action
				implied := kind == "repository" && action == "push" && asked == "pull"
				require.Equal(t, same || implied, f.allows(t, own, asked, resource), "own %s %s asks %s", kind, action, asked)
				require.Equal(t, same, f.allows(t, named, asked, resource), "named %s %s asks %s", kind, action, asked)
				require.Equal(t, same, f.allows(t, all, asked, resource), "all %s %s asks %s", kind, action, asked)
				require.False(t, f.allows(t, system, asked, resource), "system %s %s asks %s", kind, action, asked)
				resource.Project = ""
				require.Equal(t, same || f.allows(t, identity.Anonymous, asked, resource), f.allows(t, system, asked, resource))
			}
			for other := range kinds {
				if other != kind {
					require.False(t, f.allows(t, own, action, policy.Resource{Project: "closed", Kind: other}), "%s asks %s", kind, other)
				}
			}
		}
	}
}

func TestAuthorize_robotStaysInItsProjects(t *testing.T) {
	f := newFixture(t)
	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateProject(ctx, metadata.Project{Name: "third"})
		return err
	})
	push := metadata.RobotPermission{Namespace: "closed", Resource: "repository", Action: "push"}
	foreign := metadata.RobotPermission{Namespace: "third", Resource: "repository", Action: "push"}
	own := f.addRobot(t, "own", "closed", push, foreign, metadata.RobotPermission{Namespace: "*", Resource: "repository", Action: "delete"})
	named := f.addRobot(t, "named", "", push)
	all := f.addRobot(t, "all", "", metadata.RobotPermission{Namespace: "*", Resource: "repository", Action: "pull"})
	for _, robot := range []identity.Principal{own, named} {
		require.True(t, f.allows(t, robot, policy.Push, policy.Repository("closed")))
		require.False(t, f.allows(t, robot, policy.Push, policy.Repository("third")), "whatever is stored")
		require.False(t, f.allows(t, robot, policy.Delete, policy.Repository("closed")))
		require.True(t, f.allows(t, robot, policy.Pull, policy.Repository("open")), "everybody may")
		require.False(t, f.allows(t, robot, policy.Push, policy.Repository("open")))
		require.False(t, f.allows(t, robot, policy.Create, policy.Resource{Kind: "project"}), "users may")
		view, err := f.rbac.View(t.Context(), robot, policy.Push, "repository")
		require.NoError(t, err)
		require.Equal(t, metadata.Visibility{Projects: []string{"closed"}}, view)
	}
	// Ids of robots are no ids of users.
	for id := range int64(10) {
		impostor := identity.Principal{Kind: identity.KindRobot, ID: id, CredentialVersion: 1}
		require.False(t, f.allows(t, impostor, policy.Update, policy.Resource{Kind: "user", Owner: id}))
		require.Zero(t, impostor.UserID())
	}
	view, err := f.rbac.View(t.Context(), all, policy.Pull, "repository")
	require.NoError(t, err)
	require.True(t, view.All)
	view, err = f.rbac.View(t.Context(), all, policy.List, "member")
	require.NoError(t, err)
	require.False(t, view.All, "of other things it sees what everybody does")
}

func TestAuthorize_robotThatNoLongerStands(t *testing.T) {
	f := newFixture(t)
	pull := metadata.RobotPermission{Namespace: "closed", Resource: "repository", Action: "pull"}
	for name, change := range map[string]func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error{
		"disabled": func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
			robot.Disabled = true
			return tx.UpdateRobot(ctx, robot)
		},
		"with another secret": func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
			robot.SecretHash = "another"
			return tx.UpdateRobot(ctx, robot)
		},
		"with less permissions": func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
			robot.Permissions = nil
			return tx.UpdateRobot(ctx, robot)
		},
		"deleted": func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
			return tx.DeleteRobot(ctx, robot.ID)
		},
		"expired": func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
			robot.ExpiresAt = f.now().Add(identity.AccountStaleness)
			return tx.UpdateRobot(ctx, robot)
		},
	} {
		t.Run(name, func(t *testing.T) {
			robot := f.addRobot(t, name, "", pull)
			require.True(t, f.allows(t, robot, policy.Pull, policy.Repository("closed")))
			f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
				row, err := tx.LockRobot(ctx, robot.ID)
				if err != nil {
					return err
				}
				return change(ctx, tx, row)
			})
			f.advance(identity.AccountStaleness)
			require.False(t, f.allows(t, robot, policy.Pull, policy.Repository("closed")))
			view, err := f.rbac.View(t.Context(), robot, policy.Pull, "repository")
			require.NoError(t, err)
			require.Equal(t, metadata.Visibility{}, view)
		})
	}
}

// limited returns a user with an access token.
func (f *fixture) limited(t testing.TB, user string, projects []string, scopes ...string) identity.Principal {
	t.Helper()
	principal := f.people[user]
	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
		token, err := tx.CreateAccessToken(ctx, metadata.AccessToken{
			UserID: principal.ID, Kind: metadata.AccessTokenPersonal, Name: time.Now().String(), SecretHash: time.Now().String(),
			Scopes: scopes, Projects: projects,
		})
		principal.TokenID, principal.CredentialVersion = token.ID, token.Version
		return err
	})
	return principal
}

func TestAuthorize_accessTokenLimitsItsUser(t *testing.T) {
	f := newFixture(t)
	in := func(project, kind string) policy.Resource { return policy.Resource{Project: project, Kind: kind} }
	root, admin := f.people["root"].ID, f.people["projectAdmin"].ID
	for _, c := range []struct {
		user     string
		projects []string
		scope    string
		action   policy.Action
		resource policy.Resource
		allowed  bool
	}{
		{"developer", nil, "pull", "pull", in("closed", "repository"), true},
		{"developer", nil, "pull", "push", in("closed", "repository"), false},
		{"developer", nil, "push", "push", in("closed", "repository"), true},
		{"developer", nil, "push", "pull", in("closed", "repository"), true},
		{"developer", nil, "push", "delete", in("closed", "repository"), false},
		{"guest", nil, "push", "push", in("closed", "repository"), false}, // a token gives nothing that its user has not
		{"guest", nil, "all", "push", in("closed", "repository"), false},
		{"stranger", nil, "all", "pull", in("closed", "repository"), false},
		{"stranger", nil, "read", "pull", in("open", "repository"), true}, // everybody may
		{"maintainer", nil, "delete", "delete", in("closed", "tag"), true},
		{"maintainer", nil, "delete", "delete", in("closed", "label"), false},
		{"projectAdmin", nil, "read", "list", in("closed", "member"), true},
		{"projectAdmin", nil, "read", "create", in("closed", "member"), false},
		{"projectAdmin", nil, "write", "create", in("closed", "member"), true},
		{"projectAdmin", nil, "write", "push", in("closed", "repository"), false},
		{"projectAdmin", nil, "write", "create", in("closed", "robot"), false}, // a robot is a credential
		{"projectAdmin", nil, "all", "create", in("closed", "robot"), true},
		{"projectAdmin", nil, "write", "update", policy.Resource{Kind: "user", Owner: admin}, false},
		{"projectAdmin", nil, "all", "update", policy.Resource{Kind: "user", Owner: admin}, true},
		{"projectAdmin", []string{"open"}, "all", "push", in("open", "repository"), true},
		{"projectAdmin", []string{"open"}, "all", "push", in("closed", "repository"), false},
		{"projectAdmin", []string{"open"}, "all", "update", policy.Resource{Kind: "user", Owner: admin}, false},
		{"root", nil, "read", "read", policy.Resource{Kind: "configuration"}, true},
		{"root", nil, "read", "update", policy.Resource{Kind: "configuration"}, false},
		{"root", nil, "write", "update", policy.Resource{Kind: "configuration"}, true},
		{"root", nil, "pull", "pull", in("closed", "repository"), true},
		{"root", nil, "pull", "push", in("closed", "repository"), false},
		{"root", nil, "write", "update", policy.Resource{Kind: "user", Owner: root}, false},
		{"root", nil, "all", "update", policy.Resource{Kind: "user"}, true},
		{"root", []string{"closed"}, "all", "push", in("closed", "repository"), true},
		{"root", []string{"closed"}, "all", "push", in("open", "repository"), false},
		{"root", nil, "invented", "pull", in("closed", "repository"), false},
	} {
		who := f.limited(t, c.user, c.projects, c.scope)
		require.Equal(t, c.allowed, f.allows(t, who, c.action, c.resource), "%+v", c)
		checked, err := f.accounts.Check(t.Context(), who)
		require.NoError(t, err)
		require.Equal(t, c.user == "root" && c.scope == "all" && c.projects == nil, checked.SystemAdmin, "%+v", c)
	}
}

func TestView_accessTokenAndRows(t *testing.T) {
	f := newFixture(t, []string{"p", "user:stranger", "closed", "repository", "pull"}, []string{"p", "role:auditor", "*", "repository", "pull"},
		[]string{"g", "user:guest", "role:auditor", "*"})
	view := func(who identity.Principal) metadata.Visibility {
		t.Helper()
		view, err := f.rbac.View(t.Context(), who, policy.Pull, "repository")
		require.NoError(t, err)
		return view
	}
	require.Equal(t, metadata.Visibility{All: true}, view(f.people["root"]))
	require.Equal(t, metadata.Visibility{All: true}, view(f.limited(t, "root", nil, "pull")))
	require.Equal(t, metadata.Visibility{}, view(f.limited(t, "root", nil, "read")))
	require.Equal(t, metadata.Visibility{Projects: []string{"closed"}}, view(f.limited(t, "root", []string{"closed"}, "pull")))
	require.Equal(t, metadata.Visibility{UserID: f.people["developer"].ID}, view(f.people["developer"]))
	require.Equal(t, metadata.Visibility{UserID: f.people["developer"].ID}, view(f.limited(t, "developer", nil, "push")))
	require.Equal(t, metadata.Visibility{UserID: f.people["stranger"].ID, Projects: []string{"closed"}}, view(f.people["stranger"]))
	require.Equal(t, metadata.Visibility{All: true}, view(f.people["guest"]), "an auditor of all projects")
	require.Equal(t, metadata.Visibility{}, view(identity.Anonymous))
}

func TestAuthorize_accessTokenThatNoLongerStands(t *testing.T) {
	f := newFixture(t)
	developer := f.limited(t, "developer", nil, "pull")
	asked := policy.Repository("closed")
	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.UserByID(ctx, developer.ID)
		if err != nil {
			return err
		}
		user.PasswordHash = "another"
		_, err = tx.UpdateUser(ctx, user)
		return err
	})
	f.advance(identity.AccountStaleness)
	require.True(t, f.allows(t, developer, policy.Pull, asked), "a token outlives the password")
	require.False(t, f.allows(t, f.people["developer"], policy.Pull, asked))

	stolen := developer
	stolen.ID = f.people["projectAdmin"].ID
	require.False(t, f.allows(t, stolen, policy.Pull, asked), "of somebody else")

	f.tx(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteAccessToken(ctx, developer.TokenID) })
	require.True(t, f.allows(t, developer, policy.Pull, asked), "known for a while")
	f.advance(identity.AccountStaleness)
	require.False(t, f.allows(t, developer, policy.Pull, asked))
}
