package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"

	"github.com/persisting/persisting/vfs"
)

// sectorBytes is the unit that a disk writes as a whole.
const sectorBytes = 512

// ErrCrashed is returned by files that were open when the file system crashed.
var ErrCrashed = errors.New("faultfs: the machine has crashed")

// Mem is a file system in memory. Directories are durable at once, what is in them is not.
type Mem struct {
	mu    sync.Mutex
	dirs  map[string]*dir
	epoch int // files opened in an earlier one are dead
}

type dir struct {
	live, disk map[string]*inode
	changes    []func(map[string]*inode) // those of live that disk lacks
}

type inode struct {
	live, disk []byte
	dirty      map[int]bool // sectors that differ
}

// NewMem returns an empty file system.
func NewMem() *Mem { return &Mem{dirs: map[string]*dir{}} }

// Kill ends all open files, as the death of their process does. Nothing that was written is lost.
func (m *Mem) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
}

// Crash is a power failure: each sector, file size and directory entry that was changed since the sync of its file or directory
// survives, or is what it was then, at random. Directory changes survive in any combination or, as with a journal, up to one of
// them.
func (m *Mem) Crash(rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	chance := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)]
	survives := func() bool { return rng.Float64() < chance }
	// File systems differ: some keep the order of changes to names, and some do not.
	journal := rng.IntN(2) == 0
	seen := map[*inode]bool{}
	for _, path := range slices.Sorted(maps.Keys(m.dirs)) {
		d := m.dirs[path]
		for _, change := range d.changes {
			if survives() {
				change(d.disk)
			} else if journal {
				break
			}
		}
		d.changes, d.live = nil, maps.Clone(d.disk)
		for _, name := range slices.Sorted(maps.Keys(d.live)) {
			if node := d.live[name]; !seen[node] {
				seen[node] = true
				node.crash(survives)
			}
		}
	}
}

func (n *inode) crash(survives func() bool) {
	size := len(n.disk)
	// The size is of the metadata, and comes to the disk apart from the content: so a file may be
	// long enough and have zeros at its end.
	if len(n.live) != size && survives() {
		size = len(n.live)
	}
	n.disk = resize(n.disk, size)
	for _, sector := range slices.Sorted(maps.Keys(n.dirty)) {
		from := sector * sectorBytes
		if to := min(from+sectorBytes, len(n.live), size); from < to && survives() {
			copy(n.disk[from:to], n.live[from:to])
		}
	}
	n.live, n.dirty = slices.Clone(n.disk), map[int]bool{}
}

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		clear(b[size:])
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func (n *inode) sync() {
	n.disk = resize(n.disk, len(n.live))
	for sector := range n.dirty {
		if from := sector * sectorBytes; from < len(n.live) {
			copy(n.disk[from:], n.live[from:min(from+sectorBytes, len(n.live))])
		}
	}
	clear(n.dirty)
}

func (n *inode) touch(from, to int) {
	for s := from / sectorBytes; s*sectorBytes < to; s++ {
		n.dirty[s] = true
	}
}

func (n *inode) truncate(size int) {
	n.touch(min(size, len(n.live)), max(size, len(n.live)))
	n.live = resize(n.live, size)
}

func missing(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist} }

// in returns the directory of path and the name in it; m.mu is held.
func (m *Mem) in(op, path string) (*dir, string, error) {
	d := m.dirs[filepath.Dir(path)]
	if d == nil {
		return nil, "", missing(op, path)
	}
	return d, filepath.Base(path), nil
}

func (d *dir) change(f func(map[string]*inode)) {
	f(d.live)
	// As functions, which a crash can apply to what the disk has in any selection.
	d.changes = append(d.changes, f)
}

// Create implements vfs.FS.
func (m *Mem) Create(path string) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name, err := m.in("create", path)
	if err != nil {
		return nil, err
	}
	node := d.live[name]
	if node == nil {
		node = &inode{dirty: map[int]bool{}}
		d.change(func(names map[string]*inode) { names[name] = node })
	}
	node.truncate(0)
	return &file{m, node, path, m.epoch, true}, nil
}

// Open implements vfs.FS.
func (m *Mem) Open(path string) (vfs.File, error) { return m.open(path, false) }

// OpenWrite implements vfs.FS.
func (m *Mem) OpenWrite(path string) (vfs.File, error) { return m.open(path, true) }

func (m *Mem) open(path string, write bool) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name, err := m.in("open", path)
	if err != nil {
		return nil, err
	}
	node := d.live[name]
	if node == nil {
		return nil, missing("open", path)
	}
	return &file{m, node, path, m.epoch, write}, nil
}

// ReadDir implements vfs.FS.
func (m *Mem) ReadDir(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[filepath.Clean(path)]
	if d == nil {
		return nil, missing("readdir", path)
	}
	return slices.Sorted(maps.Keys(d.live)), nil
}

// Rename implements vfs.FS; both names must be in one directory.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, old, err := m.in("rename", from)
	if err != nil {
		return err
	}
	// Nothing here does that, and two directories that change as one would be a promise which no
	// file system makes.
	if filepath.Dir(from) != filepath.Dir(to) {
		return fmt.Errorf("faultfs: rename of %s to another directory", from)
	}
	node := d.live[old]
	if node == nil {
		return missing("rename", from)
	}
	name := filepath.Base(to)
	d.change(func(names map[string]*inode) {
		delete(names, old)
		names[name] = node
	})
	return nil
}

// Remove implements vfs.FS.
func (m *Mem) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name, err := m.in("remove", path)
	if err != nil {
		return err
	}
	if d.live[name] == nil {
		return missing("remove", path)
	}
	d.change(func(names map[string]*inode) { delete(names, name) })
	return nil
}

// MkdirAll implements vfs.FS.
func (m *Mem) MkdirAll(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Durable at once, as the contract of MkdirAll says; those above that are there end the walk.
	for path = filepath.Clean(path); m.dirs[path] == nil; path = filepath.Dir(path) {
		m.dirs[path] = &dir{live: map[string]*inode{}, disk: map[string]*inode{}}
	}
	return nil
}

// Stat implements vfs.FS.
func (m *Mem) Stat(path string) (vfs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[filepath.Clean(path)] != nil {
		return vfs.FileInfo{Dir: true}, nil
	}
	d, name, err := m.in("stat", path)
	if err != nil {
		return vfs.FileInfo{}, err
	}
	if node := d.live[name]; node != nil {
		return vfs.FileInfo{Size: int64(len(node.live))}, nil
	}
	return vfs.FileInfo{}, missing("stat", path)
}

// SyncDir implements vfs.FS.
func (m *Mem) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[filepath.Clean(path)]
	if d == nil {
		return missing("syncdir", path)
	}
	// All names at once, whatever order they came in.
	d.disk, d.changes = maps.Clone(d.live), nil
	return nil
}

type file struct {
	m     *Mem
	node  *inode
	path  string
	epoch int
	write bool
}

// use locks the file system, unless it has crashed since f was opened.
func (f *file) use(write bool) (unlock func(), err error) {
	f.m.mu.Lock()
	switch {
	case f.epoch != f.m.epoch:
		// Its process is dead, and what it does now must not reach the file system of the next.
		err = ErrCrashed
	case write && !f.write:
		err = &fs.PathError{Op: "write", Path: f.path, Err: fs.ErrPermission}
	}
	if err != nil {
		f.m.mu.Unlock()
	}
	return f.m.mu.Unlock, err
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	unlock, err := f.use(false)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if off >= int64(len(f.node.live)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.live[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(pieces [][]byte, off int64) error {
	unlock, err := f.use(true)
	if err != nil {
		return err
	}
	defer unlock()
	// The inode and not the name, as a file that was renamed or removed goes on being written.
	n := f.node
	for _, p := range pieces {
		end := int(off) + len(p)
		if end > len(n.live) {
			n.truncate(end)
		}
		n.touch(int(off), end)
		copy(n.live[off:], p)
		off = int64(end)
	}
	return nil
}

func (f *file) Sync() error {
	unlock, err := f.use(false)
	if err != nil {
		return err
	}
	defer unlock()
	f.node.sync()
	return nil
}

func (f *file) Datasync() error { return f.Sync() }

func (f *file) WriteSync(pieces [][]byte, off int64) error {
	if err := f.WriteAt(pieces, off); err != nil {
		return err
	}
	return f.Sync()
}

func (f *file) Truncate(size int64) error {
	unlock, err := f.use(true)
	if err != nil {
		return err
	}
	defer unlock()
	f.node.truncate(int(size))
	return nil
}

func (f *file) Preallocate(size int64) error { return f.Truncate(size) }

func (f *file) Size() (int64, error) {
	unlock, err := f.use(false)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return int64(len(f.node.live)), nil
}

func (f *file) Close() error { return nil }
