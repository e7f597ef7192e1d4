package faultfs

import (
	"sync/atomic"

	"github.com/persisting/persisting/vfs"
)

// Op is one operation on a file system. Name is that of the method, in lower case: "create", "open", "openwrite", "readdir",
// "rename", "remove", "mkdirall", "stat", "syncdir"; of a file "readat", "writeat", "datasync", "sync", "truncate",
// "preallocate", "size".
type Op struct {
	Name string
	Path string
	To   string // of a rename
}

// Hook calls Before before each operation of FS; an error from it is the result of the operation, which does not happen. Close
// never fails.
type Hook struct {
	vfs.FS
	Before func(Op) error
	// Short makes a write that fails store half of its bytes.
	Short bool
}

// Nth fails the N-th operation, counted from 1, or with Sticky that one and all later ones. With N zero it only counts.
type Nth struct {
	N      int64
	Sticky bool
	Err    error
	count  atomic.Int64
}

// Before is for Hook.Before.
func (n *Nth) Before(Op) error {
	count := n.count.Add(1)
	if n.N > 0 && (count == n.N || n.Sticky && count > n.N) {
		return n.Err
	}
	return nil
}

// Count returns the number of operations so far.
func (n *Nth) Count() int64 { return n.count.Load() }

func (h *Hook) file(name, path string, open func(string) (vfs.File, error)) (vfs.File, error) {
	if err := h.Before(Op{Name: name, Path: path}); err != nil {
		return nil, err
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	return &hookFile{f, h, path}, nil
}

// Create implements vfs.FS.
func (h *Hook) Create(path string) (vfs.File, error) { return h.file("create", path, h.FS.Create) }

// Open implements vfs.FS.
func (h *Hook) Open(path string) (vfs.File, error) { return h.file("open", path, h.FS.Open) }

// OpenWrite implements vfs.FS.
func (h *Hook) OpenWrite(path string) (vfs.File, error) {
	return h.file("openwrite", path, h.FS.OpenWrite)
}

// ReadDir implements vfs.FS.
func (h *Hook) ReadDir(path string) ([]string, error) {
	if err := h.Before(Op{Name: "readdir", Path: path}); err != nil {
		return nil, err
	}
	return h.FS.ReadDir(path)
}

// Rename implements vfs.FS.
func (h *Hook) Rename(from, to string) error {
	if err := h.Before(Op{Name: "rename", Path: from, To: to}); err != nil {
		return err
	}
	return h.FS.Rename(from, to)
}

// Remove implements vfs.FS.
func (h *Hook) Remove(path string) error {
	if err := h.Before(Op{Name: "remove", Path: path}); err != nil {
		return err
	}
	return h.FS.Remove(path)
}

// MkdirAll implements vfs.FS.
func (h *Hook) MkdirAll(path string) error {
	if err := h.Before(Op{Name: "mkdirall", Path: path}); err != nil {
		return err
	}
	return h.FS.MkdirAll(path)
}

// Stat implements vfs.FS.
func (h *Hook) Stat(path string) (vfs.FileInfo, error) {
	if err := h.Before(Op{Name: "stat", Path: path}); err != nil {
		return vfs.FileInfo{}, err
	}
	return h.FS.Stat(path)
}

// SyncDir implements vfs.FS.
func (h *Hook) SyncDir(path string) error {
	if err := h.Before(Op{Name: "syncdir", Path: path}); err != nil {
		return err
	}
	return h.FS.SyncDir(path)
}

type hookFile struct {
	vfs.File
	h    *Hook
	path string
}

func (f *hookFile) before(name string) error { return f.h.Before(Op{Name: name, Path: f.path}) }

func (f *hookFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.before("readat"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *hookFile) WriteAt(pieces [][]byte, off int64) error {
	err := f.before("writeat")
	if err == nil {
		return f.File.WriteAt(pieces, off)
	}
	if f.h.Short {
		total := 0
		for _, p := range pieces {
			total += len(p)
		}
		// As a disk that is full does it, or a signal: some of the bytes are there when the call
		// fails.
		for left := total / 2; left > 0; pieces = pieces[1:] {
			part := pieces[0][:min(left, len(pieces[0]))]
			if f.File.WriteAt([][]byte{part}, off) != nil {
				break
			}
			off += int64(len(part))
			left -= len(part)
		}
	}
	return err
}

// WriteSync is a write and a sync, each of which may fail.
func (f *hookFile) WriteSync(pieces [][]byte, off int64) error {
	if err := f.WriteAt(pieces, off); err != nil {
		return err
	}
	return f.Datasync()
}

func (f *hookFile) Datasync() error {
	if err := f.before("datasync"); err != nil {
		return err
	}
	return f.File.Datasync()
}

func (f *hookFile) Sync() error {
	if err := f.before("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *hookFile) Truncate(size int64) error {
	if err := f.before("truncate"); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *hookFile) Preallocate(size int64) error {
	if err := f.before("preallocate"); err != nil {
		return err
	}
	return f.File.Preallocate(size)
}

func (f *hookFile) Size() (int64, error) {
	if err := f.before("size"); err != nil {
		return 0, err
	}
	return f.File.Size()
}
