package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/berth-registry/berth/storage"
)

// classify wraps an error of the operating system in the kind that callers of a storage.Backend tell apart.
func classify(doing string, err error) error {
	var number syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrNotFound, err)
	case !errors.As(err, &number):
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch number {
	case syscall.ENOSPC, syscall.EDQUOT:
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrNoSpace, err)
	case syscall.EACCES, syscall.EPERM, syscall.EROFS:
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrDenied, err)
	case syscall.EFBIG:
		return fmt.Errorf("%s: %w: %w", doing, storage.ErrTooLarge, err)
	case syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ETIMEDOUT, syscall.ESTALE:
		return fmt.Errorf("%s: %w", doing, &storage.RetryableError{Err: err})
	}
	return fmt.Errorf("%s: %w", doing, err)
}
