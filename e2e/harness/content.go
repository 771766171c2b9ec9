package harness

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
)

// Content is size bytes that follow from a seed and do not compress; different seeds give different digests.
func Content(seed uint64, size int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	source := rand.NewChaCha8(key)
	block := make([]byte, 1<<20)
	_, _ = source.Read(block)
	return io.LimitReader(&repeater{block: block}, size)
}

// repeater gives the same block again and again, with its number written over its first bytes: as fast as copying.
type repeater struct {
	block []byte
	count uint64
	at    int
}

// Read never fails.
func (r *repeater) Read(into []byte) (int, error) {
	if r.at == 0 {
		binary.LittleEndian.PutUint64(r.block, r.count)
		r.count++
	}
	n := copy(into, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}

// The media types of the images that the tests make.
const (
	MediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeConfig   = "application/vnd.oci.image.config.v1+json"
	MediaTypeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// Descriptor points to content.
type Descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// Describe computes a descriptor.
func Describe(mediaType string, content []byte) Descriptor {
	digest, size, _ := DigestOf(bytes.NewReader(content))
	return Descriptor{MediaType: mediaType, Digest: digest, Size: size}
}

// Image is an image of one config and some layers, in memory.
type Image struct {
	Config   []byte
	Layers   [][]byte
	Manifest []byte
	Digest   string
}

// NewImage makes an image whose layers follow from the seed.
func NewImage(seed uint64, layerSizes ...int64) Image {
	image := Image{Config: fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"comment":"seed %d"}`, seed)}
	layers := []Descriptor{}
	for i, size := range layerSizes {
		layer, _ := io.ReadAll(Content(seed<<8+uint64(i), size))
		image.Layers = append(image.Layers, layer)
		layers = append(layers, Describe(MediaTypeLayer, layer))
	}
	image.Manifest, _ = json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     MediaTypeManifest,
		"config":        Describe(MediaTypeConfig, image.Config),
		"layers":        layers,
	})
	image.Digest = Describe(MediaTypeManifest, image.Manifest).Digest
	return image
}

// Push pushes an image under a tag or digest.
func (c *Client) Push(ctx context.Context, repository, reference string, image Image) error {
	for _, blob := range append([][]byte{image.Config}, image.Layers...) {
		descriptor := Describe("", blob)
		if err := c.PushBlob(ctx, repository, descriptor.Digest, descriptor.Size, bytes.NewReader(blob)); err != nil {
			return err
		}
	}
	return c.PutManifest(ctx, repository, reference, MediaTypeManifest, image.Manifest)
}

// CheckPull pulls an image with everything it consists of and returns an error that tells the first difference.
func (c *Client) CheckPull(ctx context.Context, repository, reference string, image Image) error {
	manifest, err := c.Manifest(ctx, repository, reference)
	if err != nil {
		return err
	}
	if !bytes.Equal(manifest, image.Manifest) {
		return fmt.Errorf("manifest %s of %s differs from what was pushed", reference, repository)
	}
	for _, blob := range append([][]byte{image.Config}, image.Layers...) {
		want := Describe("", blob)
		digest, size, err := c.PullBlob(ctx, repository, want.Digest)
		if err != nil {
			return fmt.Errorf("blob %s of %s@%s: %w", want.Digest, repository, reference, err)
		}
		if digest != want.Digest || size != want.Size {
			return fmt.Errorf("blob %s of %s came as %s with %d bytes", want.Digest, repository, digest, size)
		}
	}
	return nil
}
