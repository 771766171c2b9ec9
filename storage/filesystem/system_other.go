//go:build !linux

package filesystem

import "os"

// syncContent makes a file durable.
func syncContent(file *os.File) error { return file.Sync() }

// lock does nothing: outside Linux a tree belongs to one process.
func lock(*os.File) error { return nil }
