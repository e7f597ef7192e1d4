package faultfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/persisting/persisting/vfs"
)

// Disk is a real directory of a machine that can lose its power. It knows what
// was synced through it: of each file the content at its last sync, of each
// directory the entries at its last SyncDir. What goes past it, as all that
// Lance writes does, is seen when an image is taken. Nothing is really synced.
type Disk struct {
	root string

	mu     sync.Mutex // held by each operation, and while an image is taken
	down   bool       // nothing works any more
	files  map[uint64]*diskInode
	synced map[string]map[string]dirEntry // by directory

	// Before is asked before each operation, which fails with what it returns; [ErrCrashed] switches the machine off. After is told of each that was done, with
	// what AtSync returned before it. AtSync may be nil, as may the others; all are called with the disk held still.
	Before func(Op) error
	After  func(Op, int64)
	AtSync func() int64
}

// diskInode is a file by identity. It is held open, so that its number is not used
// again and its content is there after its name has gone.
type diskInode struct {
	file   *os.File
	number uint64
	synced []byte // nil: never
}

type dirEntry struct {
	number uint64
	dir    bool
}

// NewDisk returns the disk of a machine that was just switched on: all that is
// below root, which exists, is on it.
func NewDisk(root string) (*Disk, error) {
	d := &Disk{root: root, files: map[uint64]*diskInode{}, synced: map[string]map[string]dirEntry{}}
	// What is there when the test begins has survived before: all of it counts as synced.
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		if err := d.syncDir(path); err != nil {
			return err
		}
		for name, e := range d.synced[path] {
			if e.dir {
				continue
			}
			n, err := d.hold(filepath.Join(path, name))
			if err == nil {
				err = n.sync()
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close lets go of the files, which the disk holds open.
func (d *Disk) Close() (err error) {
	for _, n := range d.files {
		err = errors.Join(err, n.file.Close())
	}
	d.files = nil
	return err
}

// Unsynced says what a power failure could take of a file of that name, which is there: its content, and the names on the way
// to it. It is for Before and After.
func (d *Disk) Unsynced(path string) (changed bool, names []string, err error) {
	live, err := os.ReadFile(path)
	if err != nil {
		return false, nil, err
	}
	n, err := d.hold(path)
	if err != nil {
		return false, nil, err
	}
	// A file is there after a power failure only if every name on the way to it is.
	for at := path; at != d.root; at = filepath.Dir(at) {
		if _, ok := d.synced[filepath.Dir(at)][filepath.Base(at)]; !ok {
			names = append(names, at)
		}
	}
	return !bytes.Equal(n.synced, live), names, nil
}

// entriesOf returns what a directory holds now.
func entriesOf(path string) (map[string]dirEntry, error) {
	found, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	entries := map[string]dirEntry{}
	for _, e := range found {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		entries[e.Name()] = dirEntry{info.Sys().(*syscall.Stat_t).Ino, e.IsDir()}
	}
	return entries, nil
}

// syncDir remembers what a directory holds. A file that Lance removes at the
// same time was never on disk.
func (d *Disk) syncDir(path string) error {
	entries, err := entriesOf(path)
	if err != nil {
		return err
	}
	for name, e := range entries {
		// A file that is not known was made past the seam. It is held from now on, so that it is
		// there in an image even when its name goes.
		if e.dir || d.files[e.number] != nil {
			continue
		}
		n, err := d.hold(filepath.Join(path, name))
		if errors.Is(err, fs.ErrNotExist) {
			delete(entries, name)
			continue
		}
		if err != nil {
			return err
		}
		entries[name] = dirEntry{number: n.number}
	}
	d.synced[path] = entries
	return nil
}

// hold returns the file of that name, held open.
func (d *Disk) hold(path string) (*diskInode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	number := info.Sys().(*syscall.Stat_t).Ino
	// By number and not by name, as a file that was renamed keeps what was synced of it.
	if n := d.files[number]; n != nil {
		return n, f.Close()
	}
	n := &diskInode{file: f, number: number}
	d.files[number] = n
	return n, nil
}

// sync remembers what a file holds.
func (n *diskInode) sync() (err error) {
	n.synced, err = content(n.file)
	return err
}

func content(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// Image makes dst what the machine finds when it is switched on again. Each
// change since the last sync of its file or directory may be there or not.
// It is for Before and After; see [Disk.Still] for others.
func (d *Disk) Image(rng *rand.Rand, dst string) error {
	// All and nothing as well, which a coin for each change would hardly ever give: most faults
	// show where one thing is missing, or one is left.
	chance := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)]
	l := &loss{rng: rng, none: chance == 1, survives: func() bool { return rng.Float64() < chance }}
	return d.imageDir(l, d.root, dst)
}

// loss is a power failure.
type loss struct {
	rng      *rand.Rand
	none     bool // only the process has died
	survives func() bool
}

func (d *Disk) imageDir(l *loss, path, dst string) error {
	if err := os.Mkdir(dst, 0o755); err != nil {
		return err
	}
	live, err := entriesOf(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	synced := d.synced[path]
	names := map[string]bool{}
	for name := range live {
		names[name] = true
	}
	for name := range synced {
		names[name] = true
	}
	kept := map[uint64]bool{} // one decision for both names of a file that was renamed
	keep := func(number uint64) bool {
		k, ok := kept[number]
		if !ok {
			k = l.survives()
			kept[number] = k
		}
		return k
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, before := synced[name]
		is, now := live[name]
		chosen, there := was, before
		switch {
		case before && now && was == is:
		case now && keep(is.number), before && !now && keep(was.number):
			chosen, there = is, now
		}
		if !there {
			continue
		}
		from, to := filepath.Join(path, name), filepath.Join(dst, name)
		if chosen.dir {
			err = d.imageDir(l, from, to)
		} else {
			err = d.imageFile(l, chosen.number, from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const sector = 512

func (d *Disk) imageFile(l *loss, number uint64, path, dst string) error {
	n := d.files[number]
	var synced, live []byte
	var err error
	if n != nil {
		synced = n.synced
		// By the file that is held open: its name may be gone, or another's.
		live, err = content(n.file)
	} else {
		live, err = os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
	}
	if err != nil {
		return err
	}
	return os.WriteFile(dst, l.tear(synced, live), 0o644)
}

// tear returns what may be left of a file that was synced and then changed.
func (l *loss) tear(synced, live []byte) []byte {
	if l.none || bytes.Equal(synced, live) {
		return live
	}
	switch l.rng.IntN(4) {
	case 0:
		return synced
	case 1:
		return live
	case 2: // as it grew, up to some place
		from := 0
		for from < min(len(synced), len(live)) && synced[from] == live[from] {
			from++
		}
		to := len(live)
		for to > from && to <= len(synced) && synced[to-1] == live[to-1] {
			to--
		}
		at := from + l.rng.IntN(to-from+1)
		return append(slices.Clone(live[:at]), synced[min(at, len(synced)):]...)
	}
	// Of full length, with sectors that were not written. A short file often has its end, where Lance has its footers.
	size := len(live)
	if len(synced) != size && len(synced) > 0 && !l.survives() {
		size = len(synced)
	}
	out := make([]byte, size)
	copy(out, synced)
	for at := 0; at < min(size, len(live)); at += sector {
		end := min(at+sector, size, len(live))
		if l.survives() || end == size && l.rng.IntN(4) > 0 {
			copy(out[at:end], live[at:end])
		}
	}
	return out
}

// Still calls do while no operation runs.
func (d *Disk) Still(do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	do()
}

// Power switches the machine off or on.
func (d *Disk) Power(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = !on
}

// IsDown says whether the machine is off.
func (d *Disk) IsDown() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

// do runs one operation.
func (d *Disk) do(op Op, f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	// Under the lock, so that an image that is taken by it has nothing half done.
	if !d.down && d.Before != nil {
		if err := d.Before(op); err != nil {
			d.down = errors.Is(err, ErrCrashed)
			return err
		}
	}
	if d.down {
		return ErrCrashed
	}
	var seen int64
	if d.AtSync != nil {
		seen = d.AtSync()
	}
	err := f()
	if err == nil && d.After != nil {
		d.After(op, seen)
	}
	return err
}

func (d *Disk) open(name, path string, open func(string) (vfs.File, error)) (vfs.File, error) {
	f := &diskFile{d: d, path: path}
	err := d.do(Op{Name: name, Path: path}, func() (err error) {
		if f.File, err = open(path); err != nil {
			return err
		}
		f.node, err = d.hold(path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Create implements vfs.FS.
func (d *Disk) Create(path string) (vfs.File, error) { return d.open("create", path, vfs.OS.Create) }

// Open implements vfs.FS.
func (d *Disk) Open(path string) (vfs.File, error) { return d.open("open", path, vfs.OS.Open) }

// OpenWrite implements vfs.FS.
func (d *Disk) OpenWrite(path string) (vfs.File, error) {
	return d.open("openwrite", path, vfs.OS.OpenWrite)
}

// ReadDir implements vfs.FS.
func (d *Disk) ReadDir(path string) (names []string, err error) {
	err = d.do(Op{Name: "readdir", Path: path}, func() (err error) {
		names, err = vfs.OS.ReadDir(path)
		return err
	})
	return names, err
}

// Rename implements vfs.FS.
func (d *Disk) Rename(from, to string) error {
	return d.do(Op{Name: "rename", Path: from, To: to}, func() error { return vfs.OS.Rename(from, to) })
}

// Remove implements vfs.FS.
func (d *Disk) Remove(path string) error {
	return d.do(Op{Name: "remove", Path: path}, func() error { return vfs.OS.Remove(path) })
}

// MkdirAll implements vfs.FS.
func (d *Disk) MkdirAll(path string) error {
	return d.do(Op{Name: "mkdirall", Path: path}, func() error {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		// Durable by itself, as vfs promises: the name of each directory is on the disk when it
		// returns.
		for ; len(path) > len(d.root); path = filepath.Dir(path) {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			parent := filepath.Dir(path)
			if d.synced[parent] == nil {
				d.synced[parent] = map[string]dirEntry{}
			}
			d.synced[parent][filepath.Base(path)] = dirEntry{info.Sys().(*syscall.Stat_t).Ino, true}
		}
		return nil
	})
}

// Stat implements vfs.FS.
func (d *Disk) Stat(path string) (info vfs.FileInfo, err error) {
	err = d.do(Op{Name: "stat", Path: path}, func() (err error) {
		info, err = vfs.OS.Stat(path)
		return err
	})
	return info, err
}

// SyncDir implements vfs.FS.
func (d *Disk) SyncDir(path string) error {
	return d.do(Op{Name: "syncdir", Path: path}, func() error { return d.syncDir(path) })
}

type diskFile struct {
	vfs.File
	d    *Disk
	node *diskInode
	path string
}

func (f *diskFile) do(name string, call func() error) error {
	return f.d.do(Op{Name: name, Path: f.path}, call)
}

func (f *diskFile) ReadAt(b []byte, off int64) (n int, err error) {
	failed := f.do("readat", func() error {
		n, err = f.File.ReadAt(b, off)
		return nil
	})
	if failed != nil {
		err = failed
	}
	return n, err
}

func (f *diskFile) WriteAt(pieces [][]byte, off int64) error {
	return f.do("writeat", func() error { return f.File.WriteAt(pieces, off) })
}

func (f *diskFile) WriteSync(pieces [][]byte, off int64) error {
	if err := f.WriteAt(pieces, off); err != nil {
		return err
	}
	return f.Datasync()
}

func (f *diskFile) Datasync() error { return f.do("datasync", f.node.sync) }

func (f *diskFile) Sync() error { return f.do("sync", f.node.sync) }

func (f *diskFile) Truncate(size int64) error {
	return f.do("truncate", func() error { return f.File.Truncate(size) })
}

func (f *diskFile) Preallocate(size int64) error {
	return f.do("preallocate", func() error { return f.File.Truncate(size) })
}
