package bucket

import (
	"errors"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/vfs"
)

// owned returns why nothing may be done by path: the directory is no longer that of
// this bucket, which is poisoned then. Between the answer and what is done is a
// moment in which the directory may go; for what Lance does by path, that is as long
// as Lance takes. The marks of both buckets keep what it makes then from counting: no
// mark names it. What a clean-up that is running then removes is not kept: it goes by
// path, for as long as it takes.
func (b *Bucket) owned() error {
	err := b.lock.check()
	if errors.Is(err, engine.ErrDisowned) {
		return b.poisonWith(err)
	}
	return err
}

// ownedFS is the file system of a bucket, in which nothing is done by path, nor
// brought to the disk, once the bucket's directory is another's. Writes that nobody
// has synced go to the files that were opened, wherever they are.
type ownedFS struct {
	fs    vfs.FS
	owned func() error
}

// ownedFile is a file that is written to.
type ownedFile struct {
	vfs.File
	owned func() error
}

func (f *ownedFS) file(open func(string) (vfs.File, error), path string) (vfs.File, error) {
	if err := f.owned(); err != nil {
		return nil, err
	}
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	return &ownedFile{file, f.owned}, nil
}

// Create implements vfs.FS.
func (f *ownedFS) Create(path string) (vfs.File, error) { return f.file(f.fs.Create, path) }

// OpenWrite implements vfs.FS.
func (f *ownedFS) OpenWrite(path string) (vfs.File, error) { return f.file(f.fs.OpenWrite, path) }

// Open implements vfs.FS.
func (f *ownedFS) Open(path string) (vfs.File, error) {
	if err := f.owned(); err != nil {
		return nil, err
	}
	return f.fs.Open(path)
}

// ReadDir implements vfs.FS.
func (f *ownedFS) ReadDir(path string) ([]string, error) {
	if err := f.owned(); err != nil {
		return nil, err
	}
	return f.fs.ReadDir(path)
}

// Rename implements vfs.FS.
func (f *ownedFS) Rename(from, to string) error {
	if err := f.owned(); err != nil {
		return err
	}
	return f.fs.Rename(from, to)
}

// Remove implements vfs.FS.
func (f *ownedFS) Remove(path string) error {
	if err := f.owned(); err != nil {
		return err
	}
	return f.fs.Remove(path)
}

// MkdirAll implements vfs.FS.
func (f *ownedFS) MkdirAll(path string) error {
	if err := f.owned(); err != nil {
		return err
	}
	return f.fs.MkdirAll(path)
}

// Stat implements vfs.FS.
func (f *ownedFS) Stat(path string) (vfs.FileInfo, error) {
	if err := f.owned(); err != nil {
		return vfs.FileInfo{}, err
	}
	return f.fs.Stat(path)
}

// SyncDir implements vfs.FS.
func (f *ownedFS) SyncDir(path string) error {
	if err := f.owned(); err != nil {
		return err
	}
	return f.fs.SyncDir(path)
}

func (f *ownedFile) WriteSync(pieces [][]byte, off int64) error {
	if err := f.owned(); err != nil {
		return err
	}
	return f.File.WriteSync(pieces, off)
}

func (f *ownedFile) Datasync() error {
	if err := f.owned(); err != nil {
		return err
	}
	return f.File.Datasync()
}

func (f *ownedFile) Sync() error {
	if err := f.owned(); err != nil {
		return err
	}
	return f.File.Sync()
}
