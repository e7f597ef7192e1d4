package vfs

import (
	"io/fs"
	"syscall"
)

// ReadOnly is a file system through which nothing is changed: all that would fails with EROFS.
func ReadOnly(fsys FS) FS { return readOnlyFS{fsys} }

type readOnlyFS struct{ fs FS }

func refused(op, path string) error {
	return &fs.PathError{Op: op, Path: path, Err: syscall.EROFS}
}

func (f readOnlyFS) Open(path string) (File, error) { return f.fs.Open(path) }

func (f readOnlyFS) ReadDir(path string) ([]string, error) { return f.fs.ReadDir(path) }

func (f readOnlyFS) Stat(path string) (FileInfo, error) { return f.fs.Stat(path) }

func (readOnlyFS) Create(path string) (File, error) { return nil, refused("create", path) }

func (readOnlyFS) OpenWrite(path string) (File, error) { return nil, refused("open", path) }

func (readOnlyFS) Rename(from, _ string) error { return refused("rename", from) }

func (readOnlyFS) Remove(path string) error { return refused("remove", path) }

func (readOnlyFS) MkdirAll(path string) error { return refused("mkdir", path) }

func (readOnlyFS) SyncDir(path string) error { return refused("sync", path) }
