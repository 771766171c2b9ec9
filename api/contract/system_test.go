package contract_test

import (
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/configure"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/health"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/ldap"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/oidc"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/permissions"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/ping"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/search"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/statistic"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/system_cve_allowlist"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/systeminfo"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"
)

func system(h *harbor) {
	ctx := h.t.Context()
	require.Equal(h.t, "Pong", ok[*ping.GetPingOK](h)(h.Ping.GetPing(ctx, &ping.GetPingParams{})).Payload)
	healthy := ok[*health.GetHealthOK](h)(h.Health.GetHealth(ctx, &health.GetHealthParams{})).Payload
	require.Equal(h.t, "healthy", healthy.Status)

	about := ok[*systeminfo.GetSystemInfoOK](h)(h.Systeminfo.GetSystemInfo(ctx, &systeminfo.GetSystemInfoParams{})).Payload
	require.Equal(h.t, "db_auth", *about.AuthMode)
	require.NotNil(h.t, about.BannerMessage, "harbor-cli panics without it")
	require.NotNil(h.t, about.HarborVersion)
	require.NotNil(h.t, about.RegistryURL)
	anonymous := ok[*systeminfo.GetSystemInfoOK](h)(h.as("", "").Systeminfo.GetSystemInfo(ctx, &systeminfo.GetSystemInfoParams{})).Payload
	require.Nil(h.t, anonymous.HarborVersion)
	volumes := ok[*systeminfo.GetVolumesOK](h)(h.Systeminfo.GetVolumes(ctx, &systeminfo.GetVolumesParams{})).Payload
	require.NotEmpty(h.t, volumes.Storage)
	refused[*systeminfo.GetCertOK](h, "404")(h.Systeminfo.GetCert(ctx, &systeminfo.GetCertParams{}, discard{}))

	values := ok[*configure.GetConfigurationsOK](h)(h.Configure.GetConfigurations(ctx, &configure.GetConfigurationsParams{})).Payload
	require.Equal(h.t, "db_auth", values.AuthMode.Value)
	require.True(h.t, values.SessionTimeout.Editable)
	ok[*configure.GetInternalconfigOK](h)(h.Configure.GetInternalconfig(ctx, &configure.GetInternalconfigParams{}))
	ok[*configure.UpdateConfigurationsOK](h)(h.Configure.UpdateConfigurations(ctx, &configure.UpdateConfigurationsParams{
		Configurations: &models.Configurations{SessionTimeout: new(int64(30)), BannerMessage: new("hello")},
	}))
	values = ok[*configure.GetConfigurationsOK](h)(h.Configure.GetConfigurations(ctx, &configure.GetConfigurationsParams{})).Payload
	require.Equal(h.t, int64(30), values.SessionTimeout.Value)
	refused[*configure.GetConfigurationsOK](h, "401")(h.as("", "").Configure.GetConfigurations(ctx, &configure.GetConfigurationsParams{}))

	ok[*system_cve_allowlist.PutSystemCVEAllowlistOK](h)(h.SystemCVEAllowlist.PutSystemCVEAllowlist(ctx, &system_cve_allowlist.PutSystemCVEAllowlistParams{
		Allowlist: &models.CVEAllowlist{Items: []*models.CVEAllowlistItem{{CVEID: "CVE-2026-1"}}, ExpiresAt: new(int64(1893456000))},
	}))
	listed := ok[*system_cve_allowlist.GetSystemCVEAllowlistOK](h)(h.SystemCVEAllowlist.GetSystemCVEAllowlist(ctx, &system_cve_allowlist.GetSystemCVEAllowlistParams{})).Payload
	require.Equal(h.t, "CVE-2026-1", listed.Items[0].CVEID)

	ok[*search.SearchOK](h)(h.Search.Search(ctx, &search.SearchParams{Q: "lib"}))
	ok[*statistic.GetStatisticOK](h)(h.Statistic.GetStatistic(ctx, &statistic.GetStatisticParams{}))
	require.NotEmpty(h.t, ok[*permissions.GetPermissionsOK](h)(h.Permissions.GetPermissions(ctx, &permissions.GetPermissionsParams{})).Payload.System)

	pinged := ok[*ldap.PingLdapOK](h)(h.Ldap.PingLdap(ctx, &ldap.PingLdapParams{Ldapconf: &models.LdapConf{
		LdapURL: "ldap://127.0.0.1:1", LdapBaseDn: "dc=example,dc=com", LdapUID: "uid", LdapScope: 2, LdapConnectionTimeout: 1,
	}})).Payload
	require.False(h.t, pinged.Success)
	refused[*ldap.SearchLdapUserOK](h, "400")(h.Ldap.SearchLdapUser(ctx, &ldap.SearchLdapUserParams{Username: new("clara")}))
	refused[*ldap.SearchLdapGroupOK](h, "400")(h.Ldap.SearchLdapGroup(ctx, &ldap.SearchLdapGroupParams{Groupname: new("devs")}))
	refused[*ldap.ImportLdapUserOK](h, "400")(h.Ldap.ImportLdapUser(ctx, &ldap.ImportLdapUserParams{UIDList: &models.LdapImportUsers{LdapUIDList: []string{"clara"}}}))
	refused[*oidc.PingOIDCOK](h, "400")(h.OIDC.PingOIDC(ctx, &oidc.PingOIDCParams{Endpoint: oidc.PingOIDCBody{URL: "http://127.0.0.1:1"}}))
}

// discard takes what is downloaded.
type discard struct{}

// Write takes bytes.
func (discard) Write(p []byte) (int, error) { return len(p), nil }
