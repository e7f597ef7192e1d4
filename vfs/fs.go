package vfs

import (
	"errors"
	"io"
)

// FS is the part of a file system that durable storage needs. Paths are those of the operating system. Errors match
// fs.ErrNotExist and the like through errors.Is.
type FS interface {
	// Create makes an empty file for reading and writing, or empties the one that exists.
	Create(path string) (File, error)
	// Open opens a regular file for reading.
	Open(path string) (File, error)
	// OpenWrite opens an existing regular file for reading and writing.
	OpenWrite(path string) (File, error)
	// ReadDir returns the names in a directory, in lexical order.
	ReadDir(path string) ([]string, error)
	// Rename gives a file another name, replacing what had it.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(path string) error
	// MkdirAll makes a directory and those above it, durably.
	MkdirAll(path string) error
	// Stat describes a file or directory.
	Stat(path string) (FileInfo, error)
	// SyncDir brings the entries of a directory to the disk.
	SyncDir(path string) error
}

// FileInfo is the answer of FS.Stat.
type FileInfo struct {
	Size int64
	Dir  bool
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteAt writes the pieces one after the other from off on. It writes all of them or returns an error.
	WriteAt(pieces [][]byte, off int64) error
	// WriteSync is WriteAt of bytes that are on the disk when it returns.
	WriteSync(pieces [][]byte, off int64) error
	// Datasync brings content and size to the disk.
	Datasync() error
	// Sync brings content and all metadata to the disk.
	Sync() error
	// Truncate sets the size; what is added reads as zeros.
	Truncate(size int64) error
	// Preallocate makes an empty file size bytes long, all zeros, and reserves the space where the file system can.
	Preallocate(size int64) error
	// Size returns the current size.
	Size() (int64, error)
}

// Sparse is a File that knows where its holes are, which read as zeros.
type Sparse interface {
	// DataFrom returns the first place from off on that is in no hole, or the size of the file.
	DataFrom(off int64) int64
}

// Described is a File that has a descriptor of the operating system, for calls of the kernel that take one. It is the file's
// own: nobody else closes it.
type Described interface {
	Descriptor() int
}

// SyncFile brings a closed file to the disk.
func SyncFile(fs FS, path string) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
