package api

import "github.com/berth-registry/berth/policy"

// resources are the routes of all resources.
func (a *API) resources() [][]Route {
	return [][]Route{
		a.systemRoutes(),
		a.configurationRoutes(),
		a.quotaRoutes(),
		a.projectRoutes(),
		a.projectMetadataRoutes(),
		a.memberRoutes(),
		a.labelRoutes(),
		a.immutableRoutes(),
		a.allowlistRoutes(),
		a.repositoryRoutes(),
		a.artifactRoutes(),
		a.tagRoutes(),
		a.searchRoutes(),
		a.sessionRoutes(),
		a.auditRoutes(),
		a.purgeRoutes(),
		a.gcRoutes(),
		a.retentionRoutes(),
		a.deletionRoutes(),
		a.jobRoutes(),
		a.storageRoutes(),
		a.oidcRoutes(),
		a.userRoutes(),
		a.userGroupRoutes(),
		a.ldapRoutes(),
		a.robotRoutes(),
		a.permissionRoutes(),
		a.accessTokenRoutes(),
		a.registryRoutes(),
		a.replicationRoutes(),
		a.webhookRoutes(),
	}
}

// inSystem is the permission on the registry itself.
func inSystem(resource string, action policy.Action) Permission {
	return Permission{Scope: ScopeSystem, Resource: resource, Action: action}
}

// inProject is the permission in the project of the path.
func inProject(resource string, action policy.Action) Permission {
	return Permission{Scope: ScopeProject, Resource: resource, Action: action}
}

// onRow is the permission on what the handler reads first.
func onRow(resource string, action policy.Action) Permission {
	return Permission{Scope: ScopeRow, Resource: resource, Action: action}
}
