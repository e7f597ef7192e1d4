package statefile

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/vfs"
)

// Dir is a store's directory that this opener holds, and what keeps the store from writing to it: a write that failed, or
// that the directory is another's by now.
type Dir struct {
	Path string
	FS   vfs.FS // on which nothing is done by path once the directory is another's

	lock    *Lock // nil for one who only reads
	cause   atomic.Pointer[error]
	refused chan struct{} // closed when cause is set

	mu   sync.Mutex
	told func(cause error)
}

// Open holds a directory, which must exist; see [Hold].
func Open(path string, filesystem vfs.FS) (*Dir, error) {
	lock, err := Hold(path)
	if err != nil {
		return nil, err
	}
	return Held(path, filesystem, lock), nil
}

// Held is Open for a lock that was taken before, which the directory takes over.
func Held(path string, filesystem vfs.FS, lock *Lock) *Dir {
	d := &Dir{Path: path, lock: lock, refused: make(chan struct{})}
	d.FS = &ownedFS{filesystem, d.Owned}
	return d
}

// Looking is a directory that another may hold, for one who only reads: it takes no lock, nothing can be done to its file
// system, and writes are refused with [engine.ErrReadOnly].
func Looking(path string, filesystem vfs.FS) *Dir {
	return &Dir{Path: path, FS: vfs.ReadOnly(filesystem), refused: make(chan struct{})}
}

// ReadOnly says that the directory is only looked at.
func (d *Dir) ReadOnly() bool { return d.lock == nil }

// OnRefusal has told called, once, with why writes are refused from then on.
func (d *Dir) OnRefusal(told func(cause error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = told
}

// Refuse makes the store refuse writes from now on, until it is opened again, and returns the error that says so.
func (d *Dir) Refuse(cause error) error {
	// The first cause alone counts. What follows from it, as a log that takes no more, is refused
	// as well and would say less.
	if d.cause.CompareAndSwap(nil, &cause) {
		close(d.refused)
		d.mu.Lock()
		// Called outside of the lock: it goes to the log and to those who wait, and may come back
		// here.
		told := d.told
		d.mu.Unlock()
		if told != nil {
			told(cause)
		}
	}
	return Refusal(cause)
}

// Refusal is [engine.ErrPoisoned] for a cause, which may say so already.
func Refusal(cause error) error {
	if errors.Is(cause, engine.ErrPoisoned) {
		return cause
	}
	return fmt.Errorf("%w: %w", engine.ErrPoisoned, cause)
}

// Cause is what Refuse was called with first, nil if it was not.
func (d *Dir) Cause() error {
	if cause := d.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Fault is what writes are refused with, nil where they are not.
func (d *Dir) Fault() error {
	if d.ReadOnly() {
		return engine.ErrReadOnly
	}
	if cause := d.Cause(); cause != nil {
		return fmt.Errorf("%w: %w", engine.ErrPoisoned, cause)
	}
	return nil
}

// Refused is closed once writes are refused.
func (d *Dir) Refused() <-chan struct{} { return d.refused }

// Sign writes to LOCK who holds the directory.
func (d *Dir) Sign() error { return d.lock.Sign() }

// Release lets the directory go.
func (d *Dir) Release() error {
	if d.ReadOnly() {
		return nil
	}
	return d.lock.Release()
}

// Undo is Release of a directory in which nothing was changed.
func (d *Dir) Undo() error { return d.lock.Undo() }

// Owned returns why nothing may be done by path: the directory is no longer the one that was opened, and writes are
// refused then. Between the answer and what is done is a moment in which the directory may go; for what Lance does by
// path, that is as long as Lance takes. The marks of both stores keep what it makes then from counting: no mark names it.
// What a clean-up that is running then removes is not kept: it goes by path, for as long as it takes.
func (d *Dir) Owned() error {
	if d.ReadOnly() {
		return nil
	}
	// One stat. The path is asked and not the descriptor, since that leads to the directory that
	// was opened wherever it is now.
	err := d.lock.Check()
	if errors.Is(err, engine.ErrDisowned) {
		return d.Refuse(err)
	}
	return err
}

// ownedFS is the file system of a store, in which nothing is done by path, nor
// brought to the disk, once its directory is another's. Writes that nobody
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
