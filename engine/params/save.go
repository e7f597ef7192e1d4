package params

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"unicode/utf8"
)

// Tensor is what is saved: bytes with a name, a tag and a shape. The memory must stay as it is until Save has returned.
type Tensor struct {
	Name  string
	DType string
	Shape []int64
	Data  []byte
	Tie   uint32 // the same for tensors that are one in memory, 0 for all others
}

// SaveOptions are what a version is saved with.
type SaveOptions struct {
	Tags     []string        // that are to name the version, from its first moment on
	Metadata json.RawMessage // an object
	Expect   *uint64         // the newest version, 0 for none; if it is another, the save fails with [ErrConflict]
}

const (
	maxNameBytes  = 1 << 20
	maxDTypeBytes = 64
	maxDims       = 255
	maxMetadata   = 16 << 20

	// packBytes is about how long a pack becomes: one that is dead in part is kept as a whole.
	packBytes = 4 << 30

	saveTries = 10
)

// errVanished is returned when a pack was removed that a save shares.
var errVanished = errors.New("params: a pack was removed meanwhile")

// Save stores tensors as the next version of a name. When it returns, that is on the disk and can be seen by everybody; when it
// fails, there is nothing of it.
func (s *Store) Save(name string, tensors []Tensor, o SaveOptions) (*Entry, error) {
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

func (t *Tensor) check() error {
	elements := int64(1)
	for _, n := range t.Shape {
		if n < 0 || n > 0 && elements > math.MaxInt64/n {
			return invalid("tensor %q: there is no shape %v", t.Name, t.Shape)
		}
		elements *= n
	}
	size := int64(len(t.Data))
	switch {
	case len(t.Name) > maxNameBytes || !utf8.ValidString(t.Name):
		return invalid("tensor %.60q: want a name of valid UTF-8 with at most %d bytes", t.Name, maxNameBytes)
	case t.DType == "" || len(t.DType) > maxDTypeBytes || !printable(t.DType):
		return invalid("tensor %q: the dtype %.80q is none, want 1 to %d printable characters", t.Name, t.DType, maxDTypeBytes)
	case len(t.Shape) > maxDims:
		return invalid("tensor %q: %d dimensions, want at most %d", t.Name, len(t.Shape), maxDims)
	case elements == 0 && size != 0, elements > 0 && (size == 0 || size > math.MaxInt64/8 || 8*size%elements != 0):
		return invalid("tensor %q: %d bytes cannot be %v elements of %s", t.Name, size, t.Shape, t.DType)
	}
	return nil
}

func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// saving is a save under way.
type saving struct {
	s       *Store
	id      ident // also that of the manifest
	stage   ident // what its files begin with before they are published: itself, or its transaction
	tensors []Tensor
	m       manifest

	known   map[sum]location // in the store
	written map[sum]uint32   // objects of this version
	pack    *packWriter
	packOf  map[ident]uint32 // in m.packs
	made    []ident          // packs
	moved   []ident          // those of them that are under their own names
	left    int64            // bytes that may still come
	stored  int64
}

func (s *Store) save(name string, tensors []Tensor, order []int, o SaveOptions) (entry *Entry, err error) {
	known, err := s.known()
	if err != nil {
		return nil, err
	}
	id := newIdent()
	v := s.saving(id, id, tensors)
	v.known = known
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
	if err := v.store(); err != nil {
		return nil, fmt.Errorf("params: save %q: %w", name, err)
	}
	if err := v.describe(order); err != nil {
		return nil, err
	}
	encoded := v.m.encode()
	if err := v.writeManifest(encoded); err != nil {
		return nil, fmt.Errorf("params: save %q: %w", name, err)
	}
	entry = &Entry{
		Created: s.o.now().UnixMilli(), Tensors: len(tensors), Bytes: v.m.bytes(), Stored: v.stored + int64(len(encoded)),
		Metadata: o.Metadata, Manifest: v.id, Sum: sumText(sum(encoded[16:])),
	}
	if err := s.alone(func() error { return v.commit(name, entry, o) }); err != nil {
		return nil, fmt.Errorf("params: save %q: %w", name, err)
	}
	s.learn(v)
	return entry, nil
}

func (s *Store) saving(id, stage ident, tensors []Tensor) *saving {
	return &saving{s: s, id: id, stage: stage, tensors: tensors, written: map[sum]uint32{}, packOf: map[ident]uint32{}}
}

// store finds what is in the store already and writes the rest: large objects first, then all small ones side by side.
func (v *saving) store() (err error) {
	data := make([][]byte, len(v.tensors))
	for i := range v.tensors {
		data[i] = v.tensors[i].Data
		v.left += int64(len(data[i]))
	}
	v.m.objectOf = make([]uint32, len(data))
	defer func() {
		if err != nil && v.pack != nil {
			err = errors.Join(err, v.pack.abandon())
		}
	}()
	type waiting struct {
		object uint32
		data   []byte
		blocks []sum
	}
	var small []waiting
	err = hashAll(data).each(func(i int, blocks []sum) error {
		id := identify(int64(len(data[i])), blocks)
		object, there := v.written[id]
		if !there {
			object = v.newObject(int64(len(data[i])), blocks)
			v.written[id] = object
		}
		v.m.objectOf[i] = object
		at, stored := v.known[id]
		switch {
		case there || len(data[i]) == 0:
		case stored:
			v.place(object, at)
		case len(data[i]) < largeBytes:
			small = append(small, waiting{object, data[i], blocks})
			return nil
		default:
			if err := v.put(object, data[i], blocks); err != nil {
				return err
			}
		}
		v.left -= int64(len(data[i]))
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range small {
		if err := v.put(w.object, w.data, w.blocks); err != nil {
			return err
		}
	}
	return v.seal()
}

func (v *saving) newObject(length int64, blocks []sum) uint32 {
	v.m.packOf, v.m.offsets = append(v.m.packOf, 0), append(v.m.offsets, 0)
	v.m.lengths, v.m.blocks = append(v.m.lengths, length), append(v.m.blocks, blocks...)
	return uint32(len(v.m.lengths) - 1)
}

func (v *saving) place(object uint32, at location) {
	pack, there := v.packOf[at.pack]
	if !there {
		pack = uint32(len(v.m.packs))
		v.packOf[at.pack] = pack
		v.m.packs = append(v.m.packs, at.pack)
	}
	v.m.packOf[object], v.m.offsets[object] = pack, at.offset
}

func (v *saving) put(object uint32, data []byte, blocks []sum) error {
	if v.pack != nil && v.pack.at > packBytes {
		if err := v.seal(); err != nil {
			return err
		}
	}
	if v.pack == nil {
		id := newIdent()
		pack, err := newPackWriter(v.s.o.FS, v.packPath(id), id, pageBytes+min(v.left, packBytes))
		if err != nil {
			return err
		}
		v.pack, v.made = pack, append(v.made, id)
	}
	at, err := v.pack.put(data, blocks)
	v.place(object, location{v.pack.id, at})
	return err
}

// packPath is where a pack is before it is published.
func (v *saving) packPath(id ident) string { return v.s.path(packs, v.staged(id)) }

func (v *saving) manifestPath() string { return v.s.path(manifests, v.staged(v.id)) }

func (v *saving) staged(id ident) string { return v.stage.String() + "." + id.String() + stagedEnd }

func (v *saving) seal() error {
	if v.pack == nil {
		return nil
	}
	pack := v.pack
	v.pack = nil
	if err := pack.seal(); err != nil {
		return err
	}
	v.stored += pack.at
	return nil
}

// describe writes down the tensors in the order of their names.
func (v *saving) describe(order []int) error {
	m := &v.m
	objectOf := m.objectOf
	m.objectOf = make([]uint32, 0, len(order))
	dtypes, ties := map[string]uint16{}, map[uint32]uint32{}
	for _, i := range order {
		t := &v.tensors[i]
		if object, there := ties[t.Tie]; t.Tie > 0 && there && object != objectOf[i] {
			return invalid("tensor %q is one in memory with another, and has other bytes: it was changed while it was saved", t.Name)
		}
		ties[t.Tie] = objectOf[i]
		number, there := dtypes[t.DType]
		if !there {
			number = uint16(len(m.dtypes))
			dtypes[t.DType] = number
			m.dtypes = append(m.dtypes, t.DType)
		}
		m.names, m.dims = append(m.names, t.Name...), append(m.dims, t.Shape...)
		m.nameEnds, m.shapeEnds = append(m.nameEnds, uint64(len(m.names))), append(m.shapeEnds, uint32(len(m.dims)))
		m.dtypeOf, m.tieOf = append(m.dtypeOf, number), append(m.tieOf, t.Tie)
		m.objectOf, m.savedAs = append(m.objectOf, objectOf[i]), append(m.savedAs, uint32(i))
	}
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

// known is what is in the packs now. A pack whose index is damaged shares nothing; Verify tells of it.
func (s *Store) known() (map[sum]location, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := s.o.FS.ReadDir(s.path(packs))
	if err != nil {
		return nil, fmt.Errorf("params: packs: %w", err)
	}
	there := map[ident]bool{}
	for _, file := range files {
		id, ok := parseIdent(file, packEnd)
		if !ok {
			continue
		}
		there[id] = true
		if s.objects.packs[id] {
			continue
		}
		objects, err := readPack(s.o.FS, s.packPath(id), id)
		switch {
		case errors.As(err, new(*DamageError)):
		case errors.Is(err, fs.ErrNotExist):
			delete(there, id)
		case err != nil:
			return nil, fmt.Errorf("params: packs: %w", err)
		default:
			s.objects.add(id, objects)
		}
	}
	s.objects.drop(there)
	return s.objects.copied(), nil
}

// learn notes the packs that a save has made, so that the next need not read their indexes.
func (s *Store) learn(v *saving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range v.made {
		s.objects.packs[id] = true
	}
	for id, object := range v.written {
		if v.m.lengths[object] > 0 {
			s.objects.where[id] = location{v.m.packs[v.m.packOf[object]], v.m.offsets[object]}
		}
	}
}
