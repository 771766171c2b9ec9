package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/replicate/remote"
)

// retryAfter is what a client is told to wait when the registry elsewhere does not say.
const retryAfter = 10 * time.Second

// unavailable is an answer that may be another soon.
func unavailable(message string, err error) *oci.Error {
	return &oci.Error{Code: oci.CodeUnavailable, Message: message, RetryAfter: retryAfter, Err: err}
}

func databaseDown(err error) error {
	return unavailable("nothing can be fetched while the database does not answer: try again", err)
}

// failure turns what the registry elsewhere has answered into what a client is told: which registry it was, and what can be done. An
// [*oci.Error] stays as it is. What is not found there gets the code.
func (r *Repository) failure(err error, code oci.Code, what string) error {
	if _, ok := errors.AsType[*oci.Error](err); ok || err == nil {
		return err
	}
	from := fmt.Sprintf("registry %q, which project %q is a cache of,", r.origin.Name, r.name.Project())
	status, wait, answered := remote.Answer(err)
	switch {
	case errors.Is(err, remote.ErrNotFound):
		return &oci.Error{Code: code, Message: fmt.Sprintf("%s has no %s in %q", from, what, r.there), Err: err}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &oci.Error{Code: oci.CodeDenied, Message: fmt.Sprintf("%s refuses to give %s in %q: it does not exist there, or the registry has to be given a login that may read it", from, what, r.there), Err: err}
	case status == http.StatusTooManyRequests:
		return &oci.Error{Code: oci.CodeTooManyRequests, Message: from + " has had too many requests: wait, or give the registry a login with a higher limit", RetryAfter: max(wait, retryAfter), Err: err}
	case status == http.StatusLoopDetected:
		return &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusLoopDetected, Message: from + " is this registry itself, or asks this one in turn: give the registry the address of another", Err: err}
	case answered:
		refusal := unavailable(fmt.Sprintf("%s answers %d %s: try again, or look at that registry", from, status, http.StatusText(status)), err)
		refusal.RetryAfter = max(wait, retryAfter)
		return refusal
	case errors.Is(err, remote.ErrWrong):
		return unavailable(from+" sends something else than "+what+": look at that registry, and at what is on the way there", err)
	case errors.Is(err, errNoRoom):
		return unavailable("the gateway has no room for blobs on their way", err)
	case errors.Is(err, outbound.ErrForbidden):
		return unavailable(from+" is at an address that the operator does not allow", err)
	case isUntrusted(err):
		return unavailable(from+" has a certificate that is not trusted: give the registry its certificate authority", err)
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable(from+" takes too long: try again, or look at that registry", err)
	}
	return unavailable(from+" cannot be reached: try again, or look at its address and the way there", err)
}

func isUntrusted(err error) bool {
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return authority || name || invalid
}
