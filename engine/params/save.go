package params

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/metrics"
)

// SaveOptions are what a version is saved with.
type SaveOptions struct {
	Tags     []string        // that are to name the version, from its first moment on
	Metadata json.RawMessage // an object
	Expect   *uint64         // the newest version, 0 for none; if it is another, the save fails with [ErrConflict]
	Base     string          // the version that changes are told from, or a tag; empty for none, "latest" may be none
	// Progress is called with the number of bytes that were seen to, again and again, by one goroutine. An error ends the save, of
	// which there is nothing then. Nil is nobody.
	Progress func(done int64) error
}

const (
	maxMetadata = 16 << 20
	saveTries   = 10
)

// errVanished is returned when a pack was removed that a save shares.
var errVanished = errors.New("params: a pack was removed meanwhile")

// Save stores tensors as the next version of a name. When it returns, that is on the disk and can be seen by everybody; when it
// fails, there is nothing of it.
func (s *Store) Save(name string, tensors []Tensor, o SaveOptions) (entry *Entry, err error) {
	defer s.counted(metrics.Save, time.Now(), &err)
	if err := s.open(); err != nil {
		return nil, err
	}
	order, err := checkSave(name, tensors, o)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		entry, err := s.save(name, tensors, order, o)
		if !errors.Is(err, errVanished) || try == saveTries {
			return entry, err
		}
	}
}

// checkSave says all that is wrong, before anything is done, and returns the tensors in the order of their names.
func checkSave(name string, tensors []Tensor, o SaveOptions) ([]int, error) {
	if _, err := fileName(name); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return checkTensors(tensors)
}

func (o *SaveOptions) check() error {
	for _, tag := range o.Tags {
		if err := checkTag(tag); err != nil {
			return err
		}
	}
	if len(o.Metadata) > maxMetadata {
		return invalid("the metadata has %d bytes as JSON, want at most %d", len(o.Metadata), maxMetadata)
	}
	return nil
}

// checkTensors returns the tensors in the order of their names.
func checkTensors(tensors []Tensor) ([]int, error) {
	if len(tensors) > math.MaxUint32/2 {
		return nil, invalid("%d tensors, want at most %d", len(tensors), math.MaxUint32/2)
	}
	for i := range tensors {
		if err := tensors[i].check(); err != nil {
			return nil, err
		}
	}
	order := byName(tensors)
	for i := 1; i < len(order); i++ {
		if tensors[order[i]].Name == tensors[order[i-1]].Name {
			return nil, invalid("there are two tensors with the name %q", tensors[order[i]].Name)
		}
	}
	return order, nil
}

func byName(tensors []Tensor) []int {
	order := make([]int, len(tensors))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(tensors[a].Name, tensors[b].Name) })
	return order
}

func (s *Store) save(name string, tensors []Tensor, order []int, o SaveOptions) (entry *Entry, err error) {
	from, err := s.openBase(name, o.Base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	from.remember(name)
	known, err := s.known()
	if err != nil {
		return nil, err
	}
	id := newIdent()
	v := s.saving(id, id, tensors)
	v.known, v.base, v.progress = known, from, o.Progress
	if entry, err = s.published(name, v, o, func() (*Entry, error) { return v.prepare(order, o) }); err != nil {
		return nil, err
	}
	return entry, s.keep(name, v)
}

// published has a version be published that prepare has written, or leaves nothing of it.
func (s *Store) published(name string, v *saving, o SaveOptions, prepare func() (*Entry, error)) (entry *Entry, err error) {
	var end func() error
	err = s.together(func() (err error) {
		end, err = s.locks.lease(leaseOfSave(v.id))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.clean())
		}
		err = errors.Join(err, end())
	}()
	if entry, err = prepare(); err == nil {
		err = s.alone(func() error { return v.commit(name, entry, o) })
	}
	if err != nil {
		return nil, fmt.Errorf("params: save %q: %w", name, err)
	}
	s.metrics.Saved(v.account(entry))
	s.learn(v)
	return entry, nil
}

// prepare writes all that a version is of, under names that nobody looks for.
func (v *saving) prepare(order []int, o SaveOptions) (*Entry, error) {
	if err := v.store(); err != nil {
		return nil, err
	}
	entry, err := v.conclude(order, o)
	if err == nil && v.base != nil {
		entry.Base = v.base.v.Entry.Version
	}
	return entry, errors.Join(err, v.through(0)) // the last time that somebody can change their mind
}

// conclude writes the manifest, behind all bytes.
func (v *saving) conclude(order []int, o SaveOptions) (*Entry, error) {
	if err := v.describe(order); err != nil {
		return nil, err
	}
	encoded := v.m.encode()
	if err := v.writeManifest(encoded); err != nil {
		return nil, err
	}
	return &Entry{
		Created: v.s.o.now().UnixMilli(), Tensors: len(v.tensors), Bytes: v.m.bytes(), Stored: v.stored + int64(len(encoded)),
		Metadata: o.Metadata, Manifest: v.id, Sum: sumText(pack.Sum(encoded[16:])),
	}, nil
}

// keep has the store remember what was saved, if it is to. The snapshot of the base is that of what was coded from it already.
func (s *Store) keep(name string, v *saving) error {
	if !s.o.Keep {
		return nil
	}
	kept := newSnapshot()
	current := map[string]bool{}
	if v.base != nil && v.base.kept != nil {
		kept, v.base.kept = v.base.kept, nil
		current = v.current()
	}
	if err := kept.update(v.id, v.tensors, current); err != nil {
		kept.free()
		return err
	}
	s.kept.keep(name, kept)
	return nil
}

func (v *saving) writeManifest(encoded []byte) error {
	f, err := v.s.o.FS.Create(v.manifestPath())
	if err != nil {
		return err
	}
	err = f.WriteAt([][]byte{encoded}, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// commit publishes the version, or leaves nothing of it. The caller is alone behind the gate: nobody shares its packs before.
func (v *saving) commit(name string, entry *Entry, o SaveOptions) error {
	n, err := v.s.read(name)
	if err != nil {
		return err
	}
	if err = v.publish(n, entry, o); err == nil {
		err = v.s.write(n)
	}
	if err == nil {
		return nil
	}
	// A write that failed may have replaced the catalog all the same; then the version is there, and its files are needed.
	now, unread := v.s.read(name)
	if unread != nil || slices.ContainsFunc(now.Versions, func(e Entry) bool { return e.Manifest == v.id }) {
		return errors.Join(err, unread)
	}
	return errors.Join(err, v.undo())
}

// publish makes the version one that can be found, once the catalog that it changes is written.
func (v *saving) publish(n *Name, entry *Entry, o SaveOptions) error {
	if o.Expect != nil && *o.Expect != n.Latest {
		return fmt.Errorf("%w: the newest version of %q is %d, not %d (0 is none)", ErrConflict, n.Name, n.Latest, *o.Expect)
	}
	if entry.Origin != (ident{}) && n.from(entry.Origin) != nil {
		return errThere
	}
	fsys := v.s.o.FS
	for _, id := range v.made {
		if err := fsys.Rename(v.packPath(id), v.s.packPath(id)); err != nil {
			return err
		}
		v.moved = append(v.moved, id)
	}
	if err := v.shared(); err != nil {
		return err
	}
	if err := fsys.Rename(v.manifestPath(), v.s.manifestPath(v.id)); err != nil {
		return err
	}
	if err := errors.Join(fsys.SyncDir(v.s.path(packs)), fsys.SyncDir(v.s.path(manifests))); err != nil {
		return err
	}
	entry.Version = n.Next
	n.Next++
	n.Latest = entry.Version
	n.Versions = append(n.Versions, *entry)
	for _, tag := range o.Tags {
		n.Tags[tag] = entry.Version
	}
	return nil
}

// shared fails with errVanished unless the packs are there that the version needs and does not bring.
func (v *saving) shared() error {
	for _, id := range v.m.packs {
		if slices.Contains(v.made, id) {
			continue
		}
		if _, err := v.s.o.FS.Stat(v.s.packPath(id)); errors.Is(err, fs.ErrNotExist) {
			return errVanished
		} else if err != nil {
			return err
		}
	}
	return nil
}

// clean gives back the space of a save that failed before it was published.
func (v *saving) clean() error {
	failed := v.s.remove(v.manifestPath())
	for _, id := range v.made {
		failed = errors.Join(failed, v.s.remove(v.packPath(id)))
	}
	return failed
}

// undo does the same where it was to be published.
func (v *saving) undo() error {
	failed := v.s.remove(v.s.manifestPath(v.id))
	for _, id := range v.moved {
		failed = errors.Join(failed, v.s.remove(v.s.packPath(id)))
	}
	return failed
}

// remove removes a file, which may be gone.
func (s *Store) remove(path string) error {
	if err := s.o.FS.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
