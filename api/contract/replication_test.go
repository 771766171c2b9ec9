package contract_test

import (
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

func registries(h *harbor) {
	ctx := h.t.Context()
	address := "http://" + remotetest.Distribution(h.t)
	types := ok[*registry.ListRegistryProviderTypesOK](h)(h.Registry.ListRegistryProviderTypes(ctx, &registry.ListRegistryProviderTypesParams{})).Payload
	require.Subset(h.t, types, []string{"docker-registry", "google-gcr"})
	infos := ok[*registry.ListRegistryProviderInfosOK](h)(h.Registry.ListRegistryProviderInfos(ctx, &registry.ListRegistryProviderInfosParams{})).Payload
	require.Equal(h.t, "_json_key", infos["google-gcr"].CredentialPattern.AccessKeyData)

	ok[*registry.PingRegistryOK](h)(h.Registry.PingRegistry(ctx, &registry.PingRegistryParams{Registry: &models.RegistryPing{Type: to("docker-registry"), URL: &address}}))
	refused[*registry.PingRegistryOK](h, "400")(h.Registry.PingRegistry(ctx, &registry.PingRegistryParams{
		Registry: &models.RegistryPing{Type: to("docker-registry"), URL: to("http://127.0.0.1:1")},
	}))
	refused[*registry.PingRegistryOK](h, "404")(h.Registry.PingRegistry(ctx, &registry.PingRegistryParams{Registry: &models.RegistryPing{ID: to(int64(4711))}}))

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
	list := ok[*registry.ListRegistriesOK](h)(h.Registry.ListRegistries(ctx, &registry.ListRegistriesParams{Name: to("else")}))
	require.Equal(h.t, int64(1), list.XTotalCount)

	ok[*registry.UpdateRegistryOK](h)(h.Registry.UpdateRegistry(ctx, &registry.UpdateRegistryParams{ID: number, Registry: &models.RegistryUpdate{Name: to("far")}}))
	refused[*registry.UpdateRegistryOK](h, "404")(h.Registry.UpdateRegistry(ctx, &registry.UpdateRegistryParams{ID: 4711, Registry: &models.RegistryUpdate{Name: to("far")}}))
	require.Equal(h.t, "far", ok[*registry.GetRegistryOK](h)(h.Registry.GetRegistry(ctx, &registry.GetRegistryParams{ID: number})).Payload.Name)
	ok[*registry.DeleteRegistryOK](h)(h.Registry.DeleteRegistry(ctx, &registry.DeleteRegistryParams{ID: number}))
	refused[*registry.DeleteRegistryOK](h, "404")(h.Registry.DeleteRegistry(ctx, &registry.DeleteRegistryParams{ID: number}))
}
