package contract_test

import (
	"strconv"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/immutable"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/label"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/member"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project_metadata"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/quota"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/robot"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/user"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"
)

// newProject makes a private project and returns its id as text.
func (h *harbor) newProject(name string) string {
	h.t.Helper()
	made := ok[*project.CreateProjectCreated](h)(h.Project.CreateProject(h.t.Context(), &project.CreateProjectParams{
		Project: &models.ProjectReq{ProjectName: name, Metadata: &models.ProjectMetadata{Public: "false"}},
	}))
	return strconv.FormatInt(id(h.t, made.Location), 10)
}

func (h *harbor) newUser(name string) int64 {
	h.t.Helper()
	made := ok[*user.CreateUserCreated](h)(h.User.CreateUser(h.t.Context(), &user.CreateUserParams{UserReq: &models.UserCreationReq{
		Username: name, Email: name + "@example.com", Realname: name, Password: password,
	}}))
	return id(h.t, made.Location)
}

func projects(h *harbor) {
	ctx := h.t.Context()
	number := h.newProject("made")
	refused[*project.CreateProjectCreated](h, "409")(h.Project.CreateProject(ctx, &project.CreateProjectParams{Project: &models.ProjectReq{ProjectName: "made"}}))
	refused[*project.CreateProjectCreated](h, "400")(h.Project.CreateProject(ctx, &project.CreateProjectParams{Project: &models.ProjectReq{ProjectName: "Not A Name"}}))
	named := ok[*project.CreateProjectCreated](h)(h.Project.CreateProject(ctx, &project.CreateProjectParams{
		XResourceNameInLocation: new(true), Project: &models.ProjectReq{ProjectName: "named", Public: new(true), StorageLimit: new(int64(1 << 30))},
	}))
	require.Equal(h.t, "/api/v2.0/projects/named", named.Location)

	list := ok[*project.ListProjectsOK](h)(h.Project.ListProjects(ctx, &project.ListProjectsParams{Name: new("made"), WithDetail: new(true)}))
	require.Equal(h.t, int64(1), list.XTotalCount)
	require.Equal(h.t, "false", list.Payload[0].Metadata.Public)
	ok[*project.HeadProjectOK](h)(h.Project.HeadProject(ctx, &project.HeadProjectParams{ProjectName: "made"}))
	refused[*project.HeadProjectOK](h, "404")(h.Project.HeadProject(ctx, &project.HeadProjectParams{ProjectName: "absent"}))
	read := ok[*project.GetProjectOK](h)(h.Project.GetProject(ctx, &project.GetProjectParams{ProjectNameOrID: "named", XIsResourceName: new(true)})).Payload
	require.Equal(h.t, "true", read.Metadata.Public)
	require.Equal(h.t, "admin", read.OwnerName)
	ok[*project.UpdateProjectOK](h)(h.Project.UpdateProject(ctx, &project.UpdateProjectParams{ProjectNameOrID: number, Project: &models.ProjectReq{
		Metadata: &models.ProjectMetadata{AutoScan: new("true"), Severity: new("high")}, CVEAllowlist: &models.CVEAllowlist{Items: []*models.CVEAllowlistItem{{CVEID: "CVE-1"}}},
	}}))
	read = ok[*project.GetProjectOK](h)(h.Project.GetProject(ctx, &project.GetProjectParams{ProjectNameOrID: number})).Payload
	require.Equal(h.t, "true", *read.Metadata.AutoScan)
	require.Equal(h.t, "CVE-1", read.CVEAllowlist.Items[0].CVEID)
	summary := ok[*project.GetProjectSummaryOK](h)(h.Project.GetProjectSummary(ctx, &project.GetProjectSummaryParams{ProjectNameOrID: number})).Payload
	require.Equal(h.t, int64(1), summary.ProjectAdminCount)
	deletable := ok[*project.GetProjectDeletableOK](h)(h.Project.GetProjectDeletable(ctx, &project.GetProjectDeletableParams{ProjectNameOrID: number})).Payload
	require.True(h.t, deletable.Deletable)

	metadata := h.ProjectMetadata
	ok[*project_metadata.AddProjectMetadatasOK](h)(metadata.AddProjectMetadatas(ctx, &project_metadata.AddProjectMetadatasParams{
		ProjectNameOrID: number, Metadata: map[string]string{"prevent_vul": "true"},
	}))
	require.Equal(h.t, "true", ok[*project_metadata.ListProjectMetadatasOK](h)(metadata.ListProjectMetadatas(ctx, &project_metadata.ListProjectMetadatasParams{
		ProjectNameOrID: number,
	})).Payload["prevent_vul"])
	ok[*project_metadata.UpdateProjectMetadataOK](h)(metadata.UpdateProjectMetadata(ctx, &project_metadata.UpdateProjectMetadataParams{
		ProjectNameOrID: number, MetaName: "prevent_vul", Metadata: map[string]string{"prevent_vul": "false"},
	}))
	require.Equal(h.t, "false", ok[*project_metadata.GetProjectMetadataOK](h)(metadata.GetProjectMetadata(ctx, &project_metadata.GetProjectMetadataParams{
		ProjectNameOrID: number, MetaName: "prevent_vul",
	})).Payload["prevent_vul"])
	ok[*project_metadata.DeleteProjectMetadataOK](h)(metadata.DeleteProjectMetadata(ctx, &project_metadata.DeleteProjectMetadataParams{
		ProjectNameOrID: number, MetaName: "prevent_vul",
	}))
	refused[*project_metadata.GetProjectMetadataOK](h, "404")(metadata.GetProjectMetadata(ctx, &project_metadata.GetProjectMetadataParams{
		ProjectNameOrID: number, MetaName: "prevent_vul",
	}))
	ok[*project.DeleteProjectOK](h)(h.Project.DeleteProject(ctx, &project.DeleteProjectParams{ProjectNameOrID: number}))
	refused[*project.GetProjectOK](h, "401")(h.as("", "").Project.GetProject(ctx, &project.GetProjectParams{ProjectNameOrID: "made", XIsResourceName: new(true)}))
}

func members(h *harbor) {
	ctx := h.t.Context()
	number, dora := h.newProject("membered"), h.newUser("dora")
	made := ok[*member.CreateProjectMemberCreated](h)(h.Member.CreateProjectMember(ctx, &member.CreateProjectMemberParams{
		ProjectNameOrID: number, ProjectMember: &models.ProjectMember{RoleID: 2, MemberUser: &models.UserEntity{Username: "dora"}},
	}))
	mid := id(h.t, made.Location)
	refused[*member.CreateProjectMemberCreated](h, "409")(h.Member.CreateProjectMember(ctx, &member.CreateProjectMemberParams{
		ProjectNameOrID: number, ProjectMember: &models.ProjectMember{RoleID: 3, MemberUser: &models.UserEntity{UserID: dora}},
	}))
	refused[*member.CreateProjectMemberCreated](h, "400")(h.Member.CreateProjectMember(ctx, &member.CreateProjectMemberParams{
		ProjectNameOrID: number, ProjectMember: &models.ProjectMember{RoleID: 99, MemberUser: &models.UserEntity{Username: "admin"}},
	}))
	list := ok[*member.ListProjectMembersOK](h)(h.Member.ListProjectMembers(ctx, &member.ListProjectMembersParams{ProjectNameOrID: number, Entityname: new("dora")}))
	require.Equal(h.t, "developer", list.Payload[0].RoleName)
	require.Equal(h.t, "u", list.Payload[0].EntityType)
	ok[*member.UpdateProjectMemberOK](h)(h.Member.UpdateProjectMember(ctx, &member.UpdateProjectMemberParams{
		ProjectNameOrID: number, Mid: mid, Role: &models.RoleRequest{RoleID: 4},
	}))
	read := ok[*member.GetProjectMemberOK](h)(h.Member.GetProjectMember(ctx, &member.GetProjectMemberParams{ProjectNameOrID: number, Mid: mid})).Payload
	require.Equal(h.t, int64(4), read.RoleID)
	refused[*member.DeleteProjectMemberOK](h, "403")(h.as("dora", password).Member.DeleteProjectMember(ctx, &member.DeleteProjectMemberParams{ProjectNameOrID: number, Mid: mid}))
	ok[*member.DeleteProjectMemberOK](h)(h.Member.DeleteProjectMember(ctx, &member.DeleteProjectMemberParams{ProjectNameOrID: number, Mid: mid}))
	refused[*member.GetProjectMemberOK](h, "404")(h.Member.GetProjectMember(ctx, &member.GetProjectMemberParams{ProjectNameOrID: number, Mid: mid}))
}

func labels(h *harbor) {
	ctx := h.t.Context()
	made := ok[*label.CreateLabelCreated](h)(h.Label.CreateLabel(ctx, &label.CreateLabelParams{
		Label: &models.Label{Name: "stable", Color: "#48960C", Scope: "g", Description: "to be kept"},
	}))
	number := id(h.t, made.Location)
	refused[*label.CreateLabelCreated](h, "409")(h.Label.CreateLabel(ctx, &label.CreateLabelParams{Label: &models.Label{Name: "stable", Scope: "g"}}))
	refused[*label.CreateLabelCreated](h, "400")(h.Label.CreateLabel(ctx, &label.CreateLabelParams{Label: &models.Label{Name: "stray", Scope: "x"}}))
	list := ok[*label.ListLabelsOK](h)(h.Label.ListLabels(ctx, &label.ListLabelsParams{Scope: new("g"), Name: new("stab")}))
	require.Equal(h.t, int64(1), list.XTotalCount)
	ok[*label.UpdateLabelOK](h)(h.Label.UpdateLabel(ctx, &label.UpdateLabelParams{LabelID: number, Label: &models.Label{Name: "steady", Scope: "g", Color: "#FFFFFF"}}))
	require.Equal(h.t, "steady", ok[*label.GetLabelByIDOK](h)(h.Label.GetLabelByID(ctx, &label.GetLabelByIDParams{LabelID: number})).Payload.Name)
	ok[*label.DeleteLabelOK](h)(h.Label.DeleteLabel(ctx, &label.DeleteLabelParams{LabelID: number}))
	refused[*label.GetLabelByIDOK](h, "404")(h.Label.GetLabelByID(ctx, &label.GetLabelByIDParams{LabelID: number}))
}

func rules(h *harbor) {
	ctx := h.t.Context()
	number := h.newProject("ruled")
	rule := func(tags string) *models.ImmutableRule {
		return &models.ImmutableRule{
			Action: "immutable", Template: "immutable_template",
			TagSelectors:   []*models.ImmutableSelector{{Kind: "doublestar", Decoration: "matches", Pattern: tags}},
			ScopeSelectors: map[string][]models.ImmutableSelector{"repository": {{Kind: "doublestar", Decoration: "repoMatches", Pattern: "**"}}},
		}
	}
	made := ok[*immutable.CreateImmuRuleCreated](h)(h.Immutable.CreateImmuRule(ctx, &immutable.CreateImmuRuleParams{ProjectNameOrID: number, ImmutableRule: rule("v*")}))
	first := id(h.t, made.Location)
	changed := rule("release-*")
	changed.ID, changed.Disabled = first, true
	ok[*immutable.UpdateImmuRuleOK](h)(h.Immutable.UpdateImmuRule(ctx, &immutable.UpdateImmuRuleParams{ProjectNameOrID: number, ImmutableRuleID: first, ImmutableRule: changed}))
	list := ok[*immutable.ListImmuRulesOK](h)(h.Immutable.ListImmuRules(ctx, &immutable.ListImmuRulesParams{ProjectNameOrID: number}))
	require.Len(h.t, list.Payload, 1)
	require.True(h.t, list.Payload[0].Disabled)
	ok[*immutable.DeleteImmuRuleOK](h)(h.Immutable.DeleteImmuRule(ctx, &immutable.DeleteImmuRuleParams{ProjectNameOrID: number, ImmutableRuleID: first}))
}

func robots(h *harbor) {
	ctx := h.t.Context()
	number := h.newProject("driven")
	made := ok[*robot.CreateRobotCreated](h)(h.Robot.CreateRobot(ctx, &robot.CreateRobotParams{Robot: &models.RobotCreate{
		Name: "ci", Level: "project", Duration: 30, Description: "builds",
		Permissions: []*models.RobotPermission{{Kind: "project", Namespace: "driven", Access: []*models.Access{
			{Resource: "repository", Action: "push"}, {Resource: "repository", Action: "pull"},
		}}},
	}})).Payload
	require.Equal(h.t, "robot$driven+ci", made.Name)
	require.NotEmpty(h.t, made.Secret)
	refused[*robot.CreateRobotCreated](h, "400")(h.Robot.CreateRobot(ctx, &robot.CreateRobotParams{Robot: &models.RobotCreate{Name: "BAD", Level: "project"}}))
	list := ok[*robot.ListRobotOK](h)(h.Robot.ListRobot(ctx, &robot.ListRobotParams{Q: new("Level=project,ProjectID=" + number)}))
	require.Equal(h.t, int64(1), list.XTotalCount)
	read := ok[*robot.GetRobotByIDOK](h)(h.Robot.GetRobotByID(ctx, &robot.GetRobotByIDParams{RobotID: made.ID})).Payload
	require.Empty(h.t, read.Secret)
	read.Description = "builds and pushes"
	ok[*robot.UpdateRobotOK](h)(h.Robot.UpdateRobot(ctx, &robot.UpdateRobotParams{RobotID: made.ID, Robot: read}))
	renewed := ok[*robot.RefreshSecOK](h)(h.Robot.RefreshSec(ctx, &robot.RefreshSecParams{RobotID: made.ID, RobotSec: &models.RobotSec{}})).Payload
	require.NotEqual(h.t, made.Secret, renewed.Secret)
	ok[*robot.DeleteRobotOK](h)(h.Robot.DeleteRobot(ctx, &robot.DeleteRobotParams{RobotID: made.ID}))
	refused[*robot.GetRobotByIDOK](h, "404")(h.Robot.GetRobotByID(ctx, &robot.GetRobotByIDParams{RobotID: made.ID}))
}

func quotas(h *harbor) {
	ctx := h.t.Context()
	number := h.newProject("bounded")
	list := ok[*quota.ListQuotasOK](h)(h.Quota.ListQuotas(ctx, &quota.ListQuotasParams{Reference: new("project"), ReferenceID: new(number)}))
	require.Equal(h.t, int64(1), list.XTotalCount)
	found := list.Payload[0]
	require.Equal(h.t, int64(-1), found.Hard["storage"])
	ok[*quota.UpdateQuotaOK](h)(h.Quota.UpdateQuota(ctx, &quota.UpdateQuotaParams{ID: found.ID, Hard: &models.QuotaUpdateReq{Hard: models.ResourceList{"storage": 1 << 30}}}))
	read := ok[*quota.GetQuotaOK](h)(h.Quota.GetQuota(ctx, &quota.GetQuotaParams{ID: found.ID})).Payload
	require.Equal(h.t, int64(1<<30), read.Hard["storage"])
	require.Zero(h.t, read.Used["storage"])
	refused[*quota.GetQuotaOK](h, "404")(h.Quota.GetQuota(ctx, &quota.GetQuotaParams{ID: 4711}))
	everything := ok[*quota.ListQuotasOK](h)(h.Quota.ListQuotas(ctx, &quota.ListQuotasParams{PageSize: new(int64(0))}))
	require.Greater(h.t, everything.XTotalCount, int64(1))
}
