package registry

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// referrersBytes bounds one page of referrers: clients read an index of at most 4 MiB, and annotations may be large.
const referrersBytes = 3 << 20

// Tags returns up to n tags of the repository in byte order, after last, which need not exist, and whether there are more. The
// error is an [*oci.Error] with [oci.CodeNameUnknown] when the repository does not exist.
func (r *Registry) Tags(ctx context.Context, repository oci.Repository, last string, n int) (tags []string, more bool, err error) {
	n = max(n, 0)
	tags, err = r.metadata.Tags(ctx, repository, last, n+1)
	if errors.Is(err, metadata.ErrNotFound) {
		return nil, false, oci.NewError(oci.CodeNameUnknown, "repository %q does not exist", repository)
	}
	if err != nil {
		return nil, false, metadataError("list tags of "+repository.String(), err)
	}
	tags, more = page(tags, n)
	return tags, more, nil
}

// Catalog returns up to n names of the repositories in view in byte order, after last, and whether there are more.
func (r *Registry) Catalog(ctx context.Context, view metadata.Visibility, last string, n int) (names []oci.Repository, more bool, err error) {
	if n <= 0 {
		return nil, false, nil
	}
	names, err = r.metadata.Catalog(ctx, view, last, n+1)
	if err != nil {
		return nil, false, metadataError("list repositories", err)
	}
	names, more = page(names, n)
	return names, more, nil
}

// Referrers returns up to n manifests of the repository that refer to the subject, and where the next page begins, "" after the
// last one. An artifact type that is not empty keeps only those of that type. Neither the repository nor the subject need exist.
func (r *Registry) Referrers(ctx context.Context, repository oci.Repository, subject oci.Digest, artifactType string, after oci.Digest, n int) (referrers []oci.Descriptor, next oci.Digest, err error) {
	rows, err := r.metadata.Referrers(ctx, repository, subject, artifactType, after, n+1)
	if err != nil {
		return nil, "", metadataError("list referrers of "+subject.String(), err)
	}
	rows, more := page(rows, n)
	size := 0
	for i, row := range rows {
		for key, value := range row.Annotations {
			size += len(key) + len(value)
		}
		if i > 0 && size > referrersBytes {
			return referrers, rows[i-1].Digest, nil
		}
		referrers = append(referrers, oci.Descriptor{
			MediaType: row.MediaType, Digest: row.Digest, Size: row.Size, ArtifactType: row.ArtifactType, Annotations: row.Annotations,
		})
	}
	if more {
		next = rows[len(rows)-1].Digest
	}
	return referrers, next, nil
}

// page cuts what was read one longer than asked, to know whether there is more.
func page[T any](rows []T, n int) ([]T, bool) {
	if len(rows) > n {
		return rows[:n], true
	}
	return rows, false
}
