package params

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/vfs"
)

// Weights are an open version. It stays as it is, and can be read, until it is closed: a lease keeps its files, even if it is
// deleted meanwhile.
type Weights struct {
	Entry Entry
	Name  string
	Tags  []string

	s    *Store
	m    *manifest
	path string // of the manifest
	end  func() error

	mu     sync.RWMutex // held for reading by calls that use the files
	closed bool
	files  []packFiles
}

// Info is a tensor of a version.
type Info struct {
	Name  string
	DType string
	Shape []int64
	Bytes int64
	Tie   uint32
}

// Open opens the version of a name that ref means: a number, a tag or "latest".
func (s *Store) Open(name, ref string) (*Weights, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	v := &Weights{Name: name, s: s}
	err := s.together(func() error {
		n, err := s.read(name)
		if err != nil {
			return err
		}
		entry, err := n.resolve(ref)
		if err != nil {
			return err
		}
		v.Entry, v.Tags = *entry, n.tagsOf(entry.Version)
		v.end, err = s.locks.lease(leaseOfManifest(entry.Manifest))
		return err
	})
	if err != nil {
		return nil, err
	}
	v.path = s.manifestPath(v.Entry.Manifest)
	if v.m, err = readManifest(s.o.FS, v.path, v.Entry.Sum); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = pack.Damaged(v.path, "it is gone, with version %d of %q", v.Entry.Version, name)
		}
		return nil, errors.Join(fmt.Errorf("params: open version %d of %q: %w", v.Entry.Version, name, err), v.end())
	}
	v.files = make([]packFiles, len(v.m.packs))
	s.opened.Add(1)
	return v, nil
}

// Close ends the lease. It waits for loads.
func (v *Weights) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrClosed
	}
	v.closed = true
	v.s.opened.Add(-1)
	failed := v.end()
	for i := range v.files {
		failed = errors.Join(failed, v.files[i].close())
	}
	return failed
}

// Tensors returns what there is, in the order in which it was saved.
func (v *Weights) Tensors() []Info {
	all := make([]Info, v.m.count())
	for i := range all {
		all[v.m.savedAs[i]] = v.info(i)
	}
	return all
}

func (v *Weights) info(i int) Info {
	return Info{string(v.m.name(i)), v.m.dtype(i), v.m.shape(i), v.m.length(i), v.m.tieOf[i]}
}

// places are the tensors of the manifest in the order in which they were saved.
func (m *manifest) places() []int {
	places := make([]int, m.count())
	for i, place := range m.savedAs {
		places[place] = i
	}
	return places
}

// packFiles is a pack that is open for reading.
type packFiles struct {
	mu     sync.Mutex
	path   string
	opened vfs.File // nil until it is needed
	direct vfs.File // nil where the file system cannot pass by the page cache
	align  int
}

// file opens a pack, once.
func (v *Weights) file(number uint32) (*packFiles, error) {
	p := &v.files[number]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened != nil {
		return p, nil
	}
	p.path = v.s.packPath(v.m.packs[number])
	f, err := v.s.o.FS.Open(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, pack.Damaged(p.path, "it is gone")
	}
	if err != nil {
		return nil, err
	}
	direct, err := v.s.o.FS.Open(p.path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if p.align = vfs.GoDirect(direct); p.align == 0 {
		if err := direct.Close(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		direct = nil
	}
	p.opened, p.direct = f, direct
	return p, nil
}

func (p *packFiles) close() error {
	var failed error
	for _, f := range []vfs.File{p.opened, p.direct} {
		if f != nil {
			failed = errors.Join(failed, f.Close())
		}
	}
	return failed
}

// Change is how a tensor differs between two versions.
type Change struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`  // "added", "removed", "changed"
	Bytes int64  `json:"bytes"` // of the tensor as it is in the later one, or was
}

// Difference is what is not the same in two versions.
type Difference struct {
	Changes []Change `json:"changes"`
	Same    int      `json:"same"` // tensors
	Bytes   int64    `json:"bytes"`
	Changed int64    `json:"changed_bytes"` // of changed and added tensors
}

// Diff compares two open versions, of one name or of two, by what identifies the bytes of tensors. It reads none.
func Diff(from, to *Weights) *Difference {
	a, b := from.m, to.m
	found := &Difference{Changes: []Change{}}
	for i, j := 0, 0; i < a.count() || j < b.count(); {
		switch order := compareNames(a, i, b, j); {
		case order < 0:
			found.Changes = append(found.Changes, Change{string(a.name(i)), "removed", a.length(i)})
			i++
		case order > 0:
			found.add(Change{string(b.name(j)), "added", b.length(j)})
			j++
		default:
			if sameTensor(a, i, b, j) {
				found.Same++
				found.Bytes += b.length(j)
			} else {
				found.add(Change{string(b.name(j)), "changed", b.length(j)})
			}
			i, j = i+1, j+1
		}
	}
	return found
}

func (d *Difference) add(c Change) {
	d.Changes = append(d.Changes, c)
	d.Bytes += c.Bytes
	d.Changed += c.Bytes
}

// compareNames orders the next tensors of two manifests; one that has none left comes last.
func compareNames(a *manifest, i int, b *manifest, j int) int {
	switch {
	case i == a.count():
		return 1
	case j == b.count():
		return -1
	}
	return slices.Compare(a.name(i), b.name(j))
}

func sameTensor(a *manifest, i int, b *manifest, j int) bool {
	return a.dtype(i) == b.dtype(j) && slices.Equal(a.shape(i), b.shape(j)) &&
		a.identity(a.objectOf[i]) == b.identity(b.objectOf[j])
}
