package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// writeLayout writes an OCI image layout with one image of random layers, tagged "latest".
func writeLayout(dir string, layers, size int) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	write := func(content []byte) error {
		return os.WriteFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digestOf(content), "sha256:")), content, 0o644)
	}
	blobs := [][]byte{[]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)}
	for range layers {
		blobs = append(blobs, random(size))
	}
	payload := manifestOf(filepath.Base(dir), "", blobs...)
	for _, blob := range append(blobs, payload) {
		if err := write(blob); err != nil {
			return err
		}
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{
		"mediaType": manifestType, "digest": digestOf(payload), "size": len(payload),
		"annotations": map[string]string{"org.opencontainers.image.ref.name": "latest"},
	}}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}
