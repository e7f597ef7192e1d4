package bucket

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
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// slow reports whether the exhaustive variants of tests are asked for.
func slow() bool { return os.Getenv("PERSISTING_SLOW") != "" }

// disk is a real directory of a machine that can lose its power. It knows what
// was synced through it: of each file the content at its last sync, of each
// directory the entries at its last SyncDir. What goes past it, as all that
// Lance writes does, is seen when an image is taken. Nothing is really synced.
type disk struct {
	root string

	mu      sync.Mutex // held by each operation, and while an image is taken
	down    bool       // nothing works any more
	files   map[uint64]*inode
	synced  map[string]map[string]dirEntry // by directory
	before  func(faultfs.Op) error         // d.mu is held
	after   func(faultfs.Op, int64)        // of a sync that was done, with what atSync returned before it
	atSync  func() int64
	started int64 // operations so far
}

// inode is a file by identity. It is held open, so that its number is not used
// again and its content is there after its name has gone.
type inode struct {
	file   *os.File
	number uint64
	synced []byte // nil: never
}

type dirEntry struct {
	number uint64
	dir    bool
}

// newDisk returns the disk of a machine that was just switched on: all that is
// below root, which exists, is on it.
func newDisk(t testing.TB, root string) *disk {
	t.Helper()
	d := &disk{root: root, files: map[uint64]*inode{}, synced: map[string]map[string]dirEntry{}}
	t.Cleanup(d.close)
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
	must(t, err)
	return d
}

func (d *disk) close() {
	for _, n := range d.files {
		n.file.Close()
	}
	d.files = nil
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
func (d *disk) syncDir(path string) error {
	entries, err := entriesOf(path)
	if err != nil {
		return err
	}
	for name, e := range entries {
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
func (d *disk) hold(path string) (*inode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	number := info.Sys().(*syscall.Stat_t).Ino
	if n := d.files[number]; n != nil {
		return n, f.Close()
	}
	n := &inode{file: f, number: number}
	d.files[number] = n
	return n, nil
}

// sync remembers what a file holds.
func (n *inode) sync() (err error) {
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

// image makes dst what the machine finds when it is switched on again. Each
// change since the last sync of its file or directory may be there or not.
// d.mu is held.
func (d *disk) image(rng *rand.Rand, dst string) error {
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

func (d *disk) imageDir(l *loss, path, dst string) error {
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

func (d *disk) imageFile(l *loss, number uint64, path, dst string) error {
	n := d.files[number]
	var synced, live []byte
	var err error
	if n != nil {
		synced = n.synced
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

// power switches the machine off or on.
func (d *disk) power(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = !on
}

func (d *disk) isDown() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

// do runs one operation.
func (d *disk) do(op faultfs.Op, f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started++
	if !d.down && d.before != nil {
		if err := d.before(op); err != nil {
			return err
		}
	}
	if d.down {
		return faultfs.ErrCrashed
	}
	var seen int64
	if d.atSync != nil {
		seen = d.atSync()
	}
	err := f()
	if err == nil && d.after != nil {
		d.after(op, seen)
	}
	return err
}

func (d *disk) open(name, path string, open func(string) (vfs.File, error)) (vfs.File, error) {
	f := &diskFile{d: d, path: path}
	err := d.do(faultfs.Op{Name: name, Path: path}, func() (err error) {
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

func (d *disk) Create(path string) (vfs.File, error) { return d.open("create", path, vfs.OS.Create) }

func (d *disk) Open(path string) (vfs.File, error) { return d.open("open", path, vfs.OS.Open) }

func (d *disk) OpenWrite(path string) (vfs.File, error) {
	return d.open("openwrite", path, vfs.OS.OpenWrite)
}

func (d *disk) ReadDir(path string) (names []string, err error) {
	err = d.do(faultfs.Op{Name: "readdir", Path: path}, func() (err error) {
		names, err = vfs.OS.ReadDir(path)
		return err
	})
	return names, err
}

func (d *disk) Rename(from, to string) error {
	return d.do(faultfs.Op{Name: "rename", Path: from, To: to}, func() error { return vfs.OS.Rename(from, to) })
}

func (d *disk) Remove(path string) error {
	return d.do(faultfs.Op{Name: "remove", Path: path}, func() error { return vfs.OS.Remove(path) })
}

func (d *disk) MkdirAll(path string) error {
	return d.do(faultfs.Op{Name: "mkdirall", Path: path}, func() error {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
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

func (d *disk) Stat(path string) (info vfs.FileInfo, err error) {
	err = d.do(faultfs.Op{Name: "stat", Path: path}, func() (err error) {
		info, err = vfs.OS.Stat(path)
		return err
	})
	return info, err
}

func (d *disk) SyncDir(path string) error {
	return d.do(faultfs.Op{Name: "syncdir", Path: path}, func() error { return d.syncDir(path) })
}

type diskFile struct {
	vfs.File
	d    *disk
	node *inode
	path string
}

func (f *diskFile) do(name string, call func() error) error {
	return f.d.do(faultfs.Op{Name: name, Path: f.path}, call)
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
