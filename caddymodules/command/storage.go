package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// verified is what a verification of the storage has found.
type verified struct {
	Blobs        int64 `json:"blobs"`
	Bytes        int64 `json:"bytes"`
	Missing      int64 `json:"missing"`
	Wrong        int64 `json:"wrong"`
	Unknown      int64 `json:"unknown"`
	UnknownBytes int64 `json:"unknown_bytes"`
	Repaired     int64 `json:"repaired"`
}

// usage is how much is stored.
type usage struct {
	Blobs     int64 `json:"blobs"`
	Bytes     int64 `json:"bytes"`
	KeptBlobs int64 `json:"kept_blobs"`
	KeptBytes int64 `json:"kept_bytes"`
	Used      int64 `json:"used_bytes"`
	GivenUp   int64 `json:"given_up_objects"`
}

func bytesText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) } //nolint:gosec // not negative

func storageCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	do(command, local, "usage", "Shows how much is stored, and what for", func(c *call) error {
		found, err := get[usage](c.Context(), c.API, "/system/storage/usage", nil)
		if err != nil {
			return err
		}
		return report(c, found, "%d blobs of %s, among them %d of %s that are kept only for what can be restored.\nProjects hold %s by their quotas. %d objects are deleted soon.",
			found.Blobs, bytesText(found.Bytes), found.KeptBlobs, bytesText(found.KeptBytes), bytesText(found.Used), found.GivenUp)
	})
	verify := do(command, local, "verify", "Compares the storage with the database, and waits for the end", verifyStorage)
	verify.Flags().Bool("digests", false, "read all bytes and compute their digests")
	verify.Flags().Bool("repair", false, "give up unknown bytes, and forget blobs whose bytes are lost or wrong, so that they can be pushed again")
	verify.Long = "Prints what is wrong. The exit status is 1 when anything is missing or wrong and was not repaired."
}

func verifyStorage(c *call) error {
	const path = "/system/storage/verifications"
	location, err := c.change(c.Context(), http.MethodPost, path, map[string]bool{"digests": c.on("digests"), "repair": c.on("repair")})
	if err != nil {
		return err
	}
	id := location[strings.LastIndexByte(location, '/')+1:]
	ended, err := await(c.Context(), c.API, path+"/"+id, execution.ended)
	if err != nil {
		return err
	}
	_, log, err := c.send(c.Context(), http.MethodGet, path+"/"+id+"/log", nil)
	if err != nil {
		return err
	}
	var found verified
	if err := json.Unmarshal([]byte(ended.Parameters), &found); err != nil {
		return fmt.Errorf("understand the registry's answer: %w", err)
	}
	if outputOf(c.Command) == "json" {
		err = printJSON(c.OutOrStdout(), found)
	} else {
		_, err = c.OutOrStdout().Write(log)
	}
	switch {
	case err != nil:
		return err
	case ended.Status != "Success":
		return fmt.Errorf("verification %s ended as %s", id, ended.Status)
	case found.Missing+found.Wrong > 0 && !c.on("repair"):
		return fmt.Errorf("%d blobs are missing and %d wrong: pushes of what needs them repair it after \"berth storage verify --repair\"", found.Missing, found.Wrong)
	}
	return nil
}
