package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// startFloor starts this program as a server that does only what physics ask of a registry, in Go: serve a manifest from memory,
// or hash what comes, write it, fsync it and rename it. What a registry takes above it is its own.
func (b *bench) startFloor() (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "floor-")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	s, err := b.launch("floor", nil, "http://"+address+"/v2/", self, "floor", address, dir)
	if err != nil {
		return nil, err
	}
	s.base = "http://" + address
	return s, nil
}

// serveFloor is the process that startFloor starts.
func serveFloor(address, dir string) error {
	manifest := manifestOf("latest", "", []byte("{}"), []byte("layer"))
	digest := digestOf(manifest)
	routes := http.NewServeMux()
	routes.HandleFunc("GET /v2/", func(http.ResponseWriter, *http.Request) {})
	routes.HandleFunc("GET /v2/"+repository+"/manifests/{reference}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digest)
		_, _ = w.Write(manifest)
	})
	uploads := "/v2/" + repository + "/blobs/uploads/"
	routes.HandleFunc("POST "+uploads, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", uploads+"1")
		w.WriteHeader(http.StatusAccepted)
	})
	routes.HandleFunc("PUT "+uploads+"1", func(w http.ResponseWriter, r *http.Request) {
		if err := keep(r.Body, dir, r.URL.Query().Get("digest")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	return http.ListenAndServe(address, routes)
}

// keep writes content durably under its digest, which it checks.
func keep(content io.Reader, dir, digest string) error {
	file, err := os.CreateTemp(dir, "upload-")
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(hash, file)}, content, make([]byte, 1<<20)); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != digest {
		return fmt.Errorf("content has digest %s", got)
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(dir, digest))
}
