package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// OS is the file system of the operating system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) Create(path string) (File, error) {
	return wrapFile(opened(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644))
}

func (osFS) Open(path string) (File, error) { return openRegular(path, os.O_RDONLY) }

func (osFS) OpenWrite(path string) (File, error) { return openRegular(path, os.O_RDWR) }

// openRegular does not wait for the writer of a named pipe that somebody left in the directory, and refuses it.
func openRegular(path string, mode int) (File, error) {
	// On a regular file the flag does nothing.
	f, err := opened(path, mode|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return wrapFile(f, nil)
}

func (osFS) ReadDir(path string) ([]string, error) {
	d, err := opened(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	// The system gives them in an order of its own, and recovery must not depend on that.
	slices.Sort(names)
	return names, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Remove(path string) error { return os.Remove(path) }

func (o osFS) MkdirAll(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if err := o.MkdirAll(parent); err != nil {
		return err
	}
	// Another process may have made it since the look.
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// The directory is durable once its name is; each one above was synced by the call that made
	// it.
	return o.SyncDir(parent)
}

func (osFS) Stat(path string) (FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return FileInfo{}, err
	}
	return FileInfo{Size: info.Size(), Dir: info.IsDir()}, nil
}

func (osFS) SyncDir(path string) error {
	d, err := opened(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// osFile keeps the descriptor beside the os.File: Fd is not free.
type osFile struct {
	*os.File
	fd int
}

func wrapFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, fd: int(f.Fd())}, nil
}

// Descriptor implements Described.
func (f *osFile) Descriptor() int { return f.fd }

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
