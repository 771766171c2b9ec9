package api

import (
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/registry"
)

func (a *API) storageRoutes() []Route {
	const path, kind, tag = "/system/storage", "storage", "storage"
	const all, one = path + "/verifications", path + "/verifications/{verification_id}"
	return []Route{
		define(Route{
			ID: "getStorageUsage", Tag: tag, Method: http.MethodGet, Path: path + "/usage", Summary: "Tells how much is stored, and what for",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 500},
		}, a.getStorageUsage),
		define(Route{
			ID: "createStorageVerification", Tag: tag, Method: http.MethodPost, Path: all, Summary: "Begins to compare the storage with the database",
			Permission: inSystem(kind, policy.Create), Statuses: []int{400, 401, 403, 500},
		}, a.createStorageVerification),
		define(Route{
			ID: "listStorageVerifications", Tag: tag, Method: http.MethodGet, Path: all, Summary: "Lists the verifications of the storage",
			Permission: inSystem(kind, policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.listStorageVerifications),
		define(Route{
			ID: "getStorageVerification", Tag: tag, Method: http.MethodGet, Path: one, Summary: "Returns a verification, with what it has found so far",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getStorageVerification),
		define(Route{
			ID: "stopStorageVerification", Tag: tag, Method: http.MethodPut, Path: one, Summary: "Stops a verification",
			Permission: inSystem(kind, policy.Stop), Statuses: []int{401, 403, 404, 500},
		}, a.stopStorageVerification),
		define(Route{
			ID: "getStorageVerificationLog", Tag: tag, Method: http.MethodGet, Path: one + "/log", Summary: "Returns the log of a verification, which names what is wrong",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getStorageVerificationLog),
	}
}

// storageUsage is how much is stored.
type storageUsage struct {
	Blobs     int64 `json:"blobs"`
	Bytes     int64 `json:"bytes"`
	KeptBlobs int64 `json:"kept_blobs" doc:"those of the blobs that are kept only for what was deleted and can be restored"`
	KeptBytes int64 `json:"kept_bytes"`
	Used      int64 `json:"used_bytes" doc:"what all projects hold by their quotas; what several hold counts for each"`
	GivenUp   int64 `json:"given_up_objects" doc:"objects that are deleted within a quarter of an hour"`
}

func (a *API) getStorageUsage(c *Call, _ struct{}) (storageUsage, error) {
	usage, err := a.options.Store.StorageUsage(c.Context())
	if err != nil {
		return storageUsage{}, err
	}
	used, err := a.options.Store.Used(c.Context())
	return storageUsage{
		Blobs: usage.Blobs, Bytes: usage.Bytes, KeptBlobs: usage.KeptBlobs, KeptBytes: usage.KeptBytes, Used: used, GivenUp: usage.GivenUp,
	}, err
}

// verificationID names a verification.
type verificationID struct {
	ID int64 `path:"verification_id"`
}

func (a *API) createStorageVerification(c *Call, in struct {
	Body struct {
		Digests bool `json:"digests" doc:"read all bytes and compute their digests"`
		Repair  bool `json:"repair" doc:"give up unknown bytes, and forget blobs whose bytes are lost or wrong, so that they can be pushed again"`
	} `body:""`
},
) (Created, error) {
	execution, err := a.options.Verifications.Start(c.Context(), c.actor(), registry.VerificationParameters{Digests: in.Body.Digests, Repair: in.Body.Repair})
	return Created{Location: Prefix + "/system/storage/verifications/" + strconv.FormatInt(execution.ID, 10)}, err
}

// verifications are the routes' work.
func (a *API) verifications() recurring { return recurring{work: a.options.Verifications} }

func (a *API) listStorageVerifications(c *Call, paging Paging) (Page[executionHistory], error) {
	return a.verifications().history(c, paging)
}

func (a *API) getStorageVerification(c *Call, in verificationID) (executionHistory, error) {
	return a.verifications().get(c, in.ID)
}

func (a *API) stopStorageVerification(c *Call, in verificationID) (None, error) {
	return None{}, a.options.Verifications.Stop(c.Context(), c.actor(), in.ID)
}

func (a *API) getStorageVerificationLog(c *Call, in verificationID) (Text, error) {
	text, err := a.options.Verifications.Log(c.Context(), in.ID)
	return Text(text), err
}
