// Package oci is the vocabulary that every other package speaks: repository names, tags, digests, descriptors, manifests,
// media types and the error codes of the OCI distribution specification 1.1. It knows nothing of HTTP, SQL or storage.
package oci
