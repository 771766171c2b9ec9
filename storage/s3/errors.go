package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/berth-registry/berth/storage"
)

// kinds says which of the storage's errors a code of S3 is. Codes that are not here are told apart by their HTTP status.
var kinds = map[string]error{
	"NoSuchKey":                      storage.ErrNotFound,
	"NoSuchUpload":                   storage.ErrNotFound,
	"NoSuchVersion":                  storage.ErrNotFound,
	"NoSuchBucket":                   storage.ErrDenied,
	"InvalidBucketName":              storage.ErrDenied,
	"AccessDenied":                   storage.ErrDenied,
	"AllAccessDisabled":              storage.ErrDenied,
	"AccountProblem":                 storage.ErrDenied,
	"InvalidAccessKeyId":             storage.ErrDenied,
	"SignatureDoesNotMatch":          storage.ErrDenied,
	"AuthorizationHeaderMalformed":   storage.ErrDenied,
	"InvalidRegion":                  storage.ErrDenied,
	"PermanentRedirect":              storage.ErrDenied,
	"ExpiredToken":                   storage.ErrDenied,
	"InvalidToken":                   storage.ErrDenied,
	"RequestTimeTooSkewed":           storage.ErrDenied,
	"QuotaExceeded":                  storage.ErrNoSpace,
	"XMinioStorageFull":              storage.ErrNoSpace,
	"XMinioAdminBucketQuotaExceeded": storage.ErrNoSpace,
	"EntityTooLarge":                 storage.ErrTooLarge,
}

// passing are the codes of faults that are likely to pass, beside those of a status of 500 and above: what was sent arrived
// incomplete or damaged, or there was too much of it.
var passing = map[string]bool{
	"SlowDown": true, "SlowDownRead": true, "SlowDownWrite": true, "ServiceUnavailable": true, "InternalError": true,
	"RequestTimeout": true, "Throttling": true, "ThrottlingException": true, "RequestLimitExceeded": true,
	"IncompleteBody": true, "BadDigest": true, "XAmzContentChecksumMismatch": true, "OperationAborted": true,
}

// classify wraps an error of a request in the kind that callers of a storage.Backend tell apart. ctx is the caller's, after is
// what the server's Retry-After said.
func classify(ctx context.Context, doing string, err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if response, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return classifyResponse(doing, err, response, after)
	}
	if kind := classifyConnection(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", doing, kind, err)
	}
	if isConnectionError(err) {
		return fmt.Errorf("%s: %w", doing, &storage.RetryableError{After: after, Err: err})
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func classifyResponse(doing string, err error, response minio.ErrorResponse, after time.Duration) error {
	// The code tells more to whoever looks it up than the message does.
	err = fmt.Errorf("s3 answered %s: %w", response.Code, err)
	if kind, ok := kinds[response.Code]; ok {
		return fmt.Errorf("%s: %w: %w", doing, kind, err)
	}
	switch status := response.StatusCode; {
	case status == http.StatusInsufficientStorage:
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrNoSpace, err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrDenied, err)
	case passing[response.Code],
		status == http.StatusRequestTimeout, status == http.StatusTooManyRequests,
		status >= 500 && status != http.StatusNotImplemented:
		return fmt.Errorf("%s: %w", doing, &storage.RetryableError{After: after, Err: err})
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// classifyConnection returns ErrDenied for what does not get better by trying again: a certificate that is not trusted, or TLS
// spoken on one side only.
func classifyConnection(err error) error {
	var (
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		host        x509.HostnameError
		record      tls.RecordHeaderError
	)
	if errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &record) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return storage.ErrDenied
	}
	return nil
}

func isConnectionError(err error) bool {
	var (
		request *url.Error
		network net.Error
	)
	return errors.Is(err, errStalled) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.As(err, &request) || errors.As(err, &network)
}
