package contract_test

import (
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

func registries(h *harbor) {
	ctx := h.t.Context()
	address := "http://" + remotetest.Distribution(h.t)
	types := ok[*registry.ListRegistryProviderTypesOK](h)(h.Registry.ListRegistryProviderTypes(ctx, &registry.ListRegistryProviderTypesParams{})).Payload
	require.Subset(h.t, types, []string{"docker-registry", "google-gcr"})
	infos := ok[*registry.ListRegistryProviderInfosOK](h)(h.Registry.ListRegistryProviderInfos(ctx, &registry.ListRegistryProviderInfosParams{})).Payload
	require.Equal(h.t, "_json_key", infos["google-gcr"].CredentialPattern.AccessKeyData)

	ok[*registry.PingRegistryOK](h)(h.Registry.PingRegistry(ctx, &registry.PingRegistryParams{Registry: &models.RegistryPing{Type: new("docker-registry"), URL: &address}}))
	refused[*registry.PingRegistryOK](h, "400")(h.Registry.PingRegistry(ctx, &registry.PingRegistryParams{
		Registry: &models.RegistryPing{Type: new("docker-registry"), URL: new("http://127.0.0.1:1")},
	}))
	refused[*registry.PingRegistryOK](h, "404")(h.Registry.PingRegistry(ctx, &registry.PingRegistryParams{Registry: &models.RegistryPing{ID: new(int64(4711))}}))

	wanted := &models.Registry{
		Name: "elsewhere", URL: address, Type: "docker-registry", Description: "a mirror",
		Credential: &models.RegistryCredential{Type: "basic", AccessKey: "robot", AccessSecret: "top-secret"},
	}
	made := ok[*registry.CreateRegistryCreated](h)(h.Registry.CreateRegistry(ctx, &registry.CreateRegistryParams{Registry: wanted}))
	number := id(h.t, made.Location)
	refused[*registry.CreateRegistryCreated](h, "409")(h.Registry.CreateRegistry(ctx, &registry.CreateRegistryParams{Registry: wanted}))
	refused[*registry.CreateRegistryCreated](h, "400")(h.Registry.CreateRegistry(ctx, &registry.CreateRegistryParams{
		Registry: &models.Registry{Name: "other", URL: address, Type: "no-such-kind"},
	}))
	ok[*registry.PingRegistryOK](h)(h.Registry.PingRegistry(ctx, &registry.PingRegistryParams{Registry: &models.RegistryPing{ID: &number}}))
	read := ok[*registry.GetRegistryOK](h)(h.Registry.GetRegistry(ctx, &registry.GetRegistryParams{ID: number})).Payload
	require.Equal(h.t, "healthy", read.Status)
	require.Equal(h.t, &models.RegistryCredential{Type: "basic", AccessKey: "robot", AccessSecret: "*****"}, read.Credential)
	require.Equal(h.t, []string{"manual", "scheduled"}, ok[*registry.GetRegistryInfoOK](h)(h.Registry.GetRegistryInfo(ctx, &registry.GetRegistryInfoParams{ID: number})).Payload.SupportedTriggers)
	list := ok[*registry.ListRegistriesOK](h)(h.Registry.ListRegistries(ctx, &registry.ListRegistriesParams{Name: new("else")}))
	require.Equal(h.t, int64(1), list.XTotalCount)

	ok[*registry.UpdateRegistryOK](h)(h.Registry.UpdateRegistry(ctx, &registry.UpdateRegistryParams{ID: number, Registry: &models.RegistryUpdate{Name: new("far")}}))
	refused[*registry.UpdateRegistryOK](h, "404")(h.Registry.UpdateRegistry(ctx, &registry.UpdateRegistryParams{ID: 4711, Registry: &models.RegistryUpdate{Name: new("far")}}))
	require.Equal(h.t, "far", ok[*registry.GetRegistryOK](h)(h.Registry.GetRegistry(ctx, &registry.GetRegistryParams{ID: number})).Payload.Name)
	ok[*registry.DeleteRegistryOK](h)(h.Registry.DeleteRegistry(ctx, &registry.DeleteRegistryParams{ID: number}))
	refused[*registry.DeleteRegistryOK](h, "404")(h.Registry.DeleteRegistry(ctx, &registry.DeleteRegistryParams{ID: number}))
}

func replications(h *harbor) {
	ctx := h.t.Context()
	told := tellAll(h, "REPLICATION")
	address := "http://" + remotetest.Distribution(h.t)
	far := id(h.t, ok[*registry.CreateRegistryCreated](h)(h.Registry.CreateRegistry(ctx, &registry.CreateRegistryParams{
		Registry: &models.Registry{Name: "far", URL: address, Type: "docker-registry"},
	})).Location)
	h.server.PushImage(h.t, "library/moved", apitest.Image{Layers: []string{"a layer"}}, "v1", "v2")

	wanted := &models.ReplicationPolicy{
		Name: "push", Description: "to the mirror", DestRegistry: &models.Registry{ID: far}, DestNamespace: "mirror", DestNamespaceReplaceCount: new(int8(1)),
		Trigger: &models.ReplicationTrigger{Type: "manual"}, Enabled: true, Override: true, Speed: new(int32(-1)), CopyByChunk: new(true),
		Filters: []*models.ReplicationFilter{{Type: "name", Value: "library/**"}, {Type: "tag", Value: "v1", Decoration: "excludes"}, {Type: "label", Value: []string{"x"}, Decoration: "excludes"}},
	}
	made := ok[*replication.CreateReplicationPolicyCreated](h)(h.Replication.CreateReplicationPolicy(ctx, &replication.CreateReplicationPolicyParams{Policy: wanted}))
	number := id(h.t, made.Location)
	refused[*replication.CreateReplicationPolicyCreated](h, "409")(h.Replication.CreateReplicationPolicy(ctx, &replication.CreateReplicationPolicyParams{Policy: wanted}))
	refused[*replication.CreateReplicationPolicyCreated](h, "400")(h.Replication.CreateReplicationPolicy(ctx, &replication.CreateReplicationPolicyParams{
		Policy: &models.ReplicationPolicy{Name: "neither"},
	}))
	refused[*registry.DeleteRegistryOK](h, "412")(h.Registry.DeleteRegistry(ctx, &registry.DeleteRegistryParams{ID: far}))
	read := ok[*replication.GetReplicationPolicyOK](h)(h.Replication.GetReplicationPolicy(ctx, &replication.GetReplicationPolicyParams{ID: number})).Payload
	require.Equal(h.t, "far", read.DestRegistry.Name)
	require.Equal(h.t, int64(0), read.SrcRegistry.ID)
	require.Equal(h.t, int8(1), *read.DestNamespaceReplaceCount)
	require.Equal(h.t, wanted.Filters[1], read.Filters[1])
	require.Equal(h.t, int64(1), ok[*replication.ListReplicationPoliciesOK](h)(h.Replication.ListReplicationPolicies(ctx, &replication.ListReplicationPoliciesParams{Name: new("pus")})).XTotalCount)

	started := ok[*replication.StartReplicationCreated](h)(h.Replication.StartReplication(ctx, &replication.StartReplicationParams{
		Execution: &models.StartReplicationExecution{PolicyID: number},
	}))
	execution := id(h.t, started.Location)
	require.Eventually(h.t, func() bool {
		found, err := h.Replication.GetReplicationExecution(ctx, &replication.GetReplicationExecutionParams{ID: execution})
		return err == nil && found.Payload.Status == "Succeed" && found.Payload.Total == 1 && found.Payload.Succeed == 1
	}, 20*time.Second, 50*time.Millisecond)
	require.Equal(h.t, int64(1), ok[*replication.ListReplicationExecutionsOK](h)(h.Replication.ListReplicationExecutions(ctx, &replication.ListReplicationExecutionsParams{
		PolicyID: &number, Status: new("Succeed"), Trigger: new("manual"),
	})).XTotalCount)
	tasks := ok[*replication.ListReplicationTasksOK](h)(h.Replication.ListReplicationTasks(ctx, &replication.ListReplicationTasksParams{ID: execution, Status: new("Succeed"), ResourceType: new("image")})).Payload
	require.Len(h.t, tasks, 1)
	require.Equal(h.t, "copy", tasks[0].Operation)
	require.Equal(h.t, "mirror/moved", tasks[0].DstResource)
	require.Contains(h.t, ok[*replication.GetReplicationLogOK](h)(h.Replication.GetReplicationLog(ctx, &replication.GetReplicationLogParams{ID: execution, TaskID: tasks[0].ID})).Payload, "mirror/moved v2: copied")
	refused[*replication.GetReplicationLogOK](h, "404")(h.Replication.GetReplicationLog(ctx, &replication.GetReplicationLogParams{ID: execution, TaskID: 4711}))
	ok[*replication.StopReplicationOK](h)(h.Replication.StopReplication(ctx, &replication.StopReplicationParams{ID: execution}))
	refused[*replication.StopReplicationOK](h, "404")(h.Replication.StopReplication(ctx, &replication.StopReplicationParams{ID: 4711}))

	payload := told()
	require.Equal(h.t, "admin", payload.Operator)
	moved := payload.EventData.Replication
	require.Equal(h.t, "Success", moved["job_status"])
	require.Equal(h.t, "MANUAL", moved["trigger_type"])
	require.Equal(h.t, "admin", moved["policy_creator"])
	require.Equal(h.t, "image", moved["artifact_type"])
	require.Equal(h.t, "library", moved["src_resource"].(map[string]any)["namespace"])
	require.Equal(h.t, map[string]any{"registry_name": "far", "registry_type": "docker-registry", "endpoint": address, "namespace": "mirror"}, moved["dest_resource"])
	require.Len(h.t, moved["successful_artifact"], 1)
	require.NotContains(h.t, moved, "failed_artifact")

	read.Description = "changed"
	ok[*replication.UpdateReplicationPolicyOK](h)(h.Replication.UpdateReplicationPolicy(ctx, &replication.UpdateReplicationPolicyParams{ID: number, Policy: read}))
	refused[*replication.UpdateReplicationPolicyOK](h, "404")(h.Replication.UpdateReplicationPolicy(ctx, &replication.UpdateReplicationPolicyParams{ID: 4711, Policy: wanted}))
	ok[*replication.DeleteReplicationPolicyOK](h)(h.Replication.DeleteReplicationPolicy(ctx, &replication.DeleteReplicationPolicyParams{ID: number}))
	refused[*replication.DeleteReplicationPolicyOK](h, "404")(h.Replication.DeleteReplicationPolicy(ctx, &replication.DeleteReplicationPolicyParams{ID: number}))
}
