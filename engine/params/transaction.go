package params

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/metrics"
)

// maxRanks is far more than any job has.
const maxRanks = 1 << 20

// transaction is a version that many ranks write, as the file says that it begins with.
type transaction struct {
	ID    ident  `json:"id"`
	Name  string `json:"name"`
	Ranks int    `json:"ranks"`
	Base  uint64 `json:"base,omitempty"` // version that changes are told from, 0 for none
}

const partMark = ".part-"

func begunFile(id ident) string { return id.String() + ".begun" + stagedEnd }

func partFile(id ident, rank int) string {
	return fmt.Sprintf("%v%s%d%s", id, partMark, rank, stagedEnd)
}

// Begin begins a version of a name that as many ranks write, each its part, in any process that sees the directory; what it
// returns tells them which. It is alive as long as this store is open, or until it is committed or aborted: then the
// collector removes what there is of it. Changes within tensors, and within boxes that the base has as well, are told from that,
// as [SaveOptions] has it.
func (s *Store) Begin(name string, ranks int, base string) (string, error) {
	if err := s.open(); err != nil {
		return "", err
	}
	if _, err := fileName(name); err != nil {
		return "", err
	}
	if ranks < 1 || ranks > maxRanks {
		return "", invalid("there are %d ranks, want 1 to %d", ranks, maxRanks)
	}
	from, err := s.baseVersion(name, base)
	if err != nil {
		return "", err
	}
	t := transaction{newIdent(), name, ranks, from}
	content, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("params: begin %q: %w", name, err)
	}
	var end func() error
	err = s.together(func() (err error) {
		end, err = s.locks.lease(leaseOfSave(t.ID))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("params: begin %q: %w", name, err)
	}
	if err := statefile.Write(s.o.FS, s.path(manifests, begunFile(t.ID)), content); err != nil {
		return "", errors.Join(fmt.Errorf("params: begin %q: %w", name, err), s.sweepOf(t.ID), end())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun[t.ID] = end
	return t.ID.String(), nil
}

// baseVersion is the number of the version that is meant as a base, 0 where there is none.
func (s *Store) baseVersion(name, ref string) (uint64, error) {
	if ref == "" {
		return 0, nil
	}
	n, err := s.read(name)
	if err != nil {
		return 0, err
	}
	entry, err := n.resolve(ref)
	if ref == Latest && errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return entry.Version, nil
}

// openBase opens the base of a transaction, which may have been deleted since that began: then there is none.
func (t *transaction) openBase(s *Store) (*base, error) {
	if t.Base == 0 {
		return nil, nil
	}
	from, err := s.openBase(t.Name, fmt.Sprint(t.Base))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return from, err
}

// transaction reads what a transaction is.
func (s *Store) transaction(text string) (*transaction, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	id, ok := parseIdent(text, "")
	if !ok {
		return nil, invalid("%.60q is no transaction", text)
	}
	path := s.path(manifests, begunFile(id))
	content, err := statefile.Read(s.o.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no transaction %v: it was committed, aborted, or removed when the process that began it had died", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("params: transaction: %w", err)
	}
	var t transaction
	if err := json.Unmarshal(content, &t); err != nil {
		return nil, pack.Damaged(path, "%v", err)
	}
	if t.ID != id || t.Ranks < 1 || t.Ranks > maxRanks {
		return nil, pack.Damaged(path, "it is of transaction %v with %d ranks", t.ID, t.Ranks)
	}
	return &t, nil
}

// Part stores the part of a rank, once. When it returns, that is on the disk; when it fails, there is nothing of it.
func (s *Store) Part(id string, rank int, pieces []Piece) (err error) {
	defer s.counted(metrics.Part, time.Now(), &err)
	t, err := s.transaction(id)
	if err != nil {
		return err
	}
	if rank < 0 || rank >= t.Ranks {
		return invalid("rank is %d, want 0 to %d", rank, t.Ranks-1)
	}
	tensors, err := namedPieces(pieces)
	if err != nil {
		return err
	}
	order, err := checkTensors(tensors)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := s.part(t, rank, tensors, order)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errVanished) || try == saveTries {
			return fmt.Errorf("params: part of rank %d of %q: %w", rank, t.Name, err)
		}
	}
}

func namedPieces(pieces []Piece) ([]Tensor, error) {
	tensors := make([]Tensor, 0, len(pieces))
	for i := range pieces {
		p := &pieces[i]
		if err := p.check(); err != nil {
			return nil, err
		}
		if !p.isEmpty() {
			tensors = append(tensors, p.named())
		}
	}
	return tensors, nil
}

func (s *Store) part(t *transaction, rank int, tensors []Tensor, order []int) (err error) {
	from, err := t.openBase(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	known, err := s.known()
	if err != nil {
		return err
	}
	v := s.saving(newIdent(), t.ID, tensors)
	v.known, v.base = known, from
	defer func() {
		if err != nil {
			err = errors.Join(err, v.clean())
		}
	}()
	if err := v.store(); err != nil {
		return err
	}
	if err := v.describe(order); err != nil {
		return err
	}
	if err := v.writeManifest(v.m.encode()); err != nil {
		return err
	}
	return s.alone(func() error { return v.join(t, rank) })
}

// join makes the part one that a commit finds. The caller is alone behind the gate: from then on the collector keeps what the
// part shares.
func (v *saving) join(t *transaction, rank int) error {
	if _, err := v.s.transaction(t.ID.String()); err != nil {
		return err
	}
	fsys, path := v.s.o.FS, v.s.path(manifests, partFile(t.ID, rank))
	if _, err := fsys.Stat(path); err == nil {
		return fmt.Errorf("%w: rank %d has written its part already", ErrConflict, rank)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := v.shared(); err != nil {
		return err
	}
	if err := fsys.SyncDir(v.s.path(packs)); err != nil {
		return err
	}
	if err := fsys.Rename(v.manifestPath(), path); err != nil {
		return err
	}
	if err := fsys.SyncDir(v.s.path(manifests)); err != nil {
		return errors.Join(err, v.s.remove(path)) // the packs of a part that failed are removed
	}
	return nil
}

// Commit makes a version of the parts: all of a transaction must be there, and each element of each tensor in one of them. If
// they are not, or the newest version is not the one that o expects, nothing changes and it can be done again. An error of the
// disk ends the transaction.
func (s *Store) Commit(id string, o SaveOptions) (_ *Entry, err error) {
	defer s.counted(metrics.Commit, time.Now(), &err)
	t, err := s.transaction(id)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	v, count, err := s.merge(t)
	if err != nil {
		return nil, err
	}
	encoded := v.m.encode()
	if err := v.writeManifest(encoded); err != nil {
		return nil, errors.Join(fmt.Errorf("params: commit %q: %w", t.Name, err), s.remove(v.manifestPath()))
	}
	entry := &Entry{
		Created: s.o.now().UnixMilli(), Tensors: count, Bytes: v.m.bytes(), Stored: v.stored + int64(len(encoded)),
		Base: t.Base, Metadata: o.Metadata, Manifest: v.id, Sum: sumText(pack.Sum(encoded[16:])),
	}
	err = s.alone(func() error {
		if _, err := s.transaction(id); err != nil {
			return err // another commit was faster
		}
		if err := v.commit(t.Name, entry, o); err != nil {
			return err
		}
		return s.remove(s.path(manifests, begunFile(t.ID)))
	})
	switch {
	case errors.Is(err, ErrConflict):
		return nil, errors.Join(fmt.Errorf("params: commit %q: %w", t.Name, err), s.remove(v.manifestPath()))
	case err != nil:
		return nil, errors.Join(fmt.Errorf("params: commit %q: %w", t.Name, err), s.end(t.ID))
	}
	s.metrics.Saved(v.account(entry))
	return entry, s.end(t.ID)
}

// Abort ends a transaction and removes what its ranks have written.
func (s *Store) Abort(id string) error {
	t, err := s.transaction(id)
	if err != nil {
		return err
	}
	return s.end(t.ID)
}

// end ends a transaction and removes the files that it has left.
func (s *Store) end(id ident) error {
	failed := s.alone(func() error { return s.sweepOf(id) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if end, ours := s.begun[id]; ours {
		delete(s.begun, id)
		failed = errors.Join(failed, end())
	}
	return failed
}

// sweepOf removes the staged files of a save or a transaction. First goes what makes it one, so that no rank joins it.
func (s *Store) sweepOf(id ident) error {
	failed := s.remove(s.path(manifests, begunFile(id)))
	for _, dir := range []string{manifests, packs} {
		files, err := s.o.FS.ReadDir(s.path(dir))
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, file := range files {
			if strings.HasPrefix(file, id.String()+".") && strings.HasSuffix(file, stagedEnd) {
				failed = errors.Join(failed, s.remove(s.path(dir, file)))
			}
		}
	}
	return failed
}

// merge reads the parts of all ranks and makes one version of them, and counts its tensors.
func (s *Store) merge(t *transaction) (v *saving, count int, err error) {
	parts, err := s.parts(t)
	if err != nil {
		return nil, 0, err
	}
	v = s.saving(newIdent(), t.ID, nil)
	var boxes []box
	objectOf, ties, nothing := []uint32{}, uint32(0), map[string]bool{}
	for rank, m := range parts {
		objects, last := v.adopt(m), ties
		for _, i := range m.places() {
			tensor := Tensor{Name: string(m.name(i)), DType: m.dtype(i), Shape: m.shape(i)}
			if m.tieOf[i] > 0 {
				tensor.Tie = last + m.tieOf[i]
				ties = max(ties, tensor.Tie)
			}
			b, err := boxOf(&tensor, m.length(i), rank)
			if err != nil {
				return nil, 0, pack.Damaged(s.path(manifests, partFile(t.ID, rank)), "%v", err)
			}
			boxes = append(boxes, b)
			if b.bits == 0 { // it has no element, so several ranks may have all of it
				if nothing[tensor.Name] {
					continue
				}
				nothing[tensor.Name] = true
			}
			v.tensors, objectOf = append(v.tensors, tensor), append(objectOf, objects[m.objectOf[i]])
		}
	}
	v.m.objectOf = objectOf
	if count, err = checkBoxes(boxes); err == nil {
		err = v.describe(byName(v.tensors))
	}
	if err == nil {
		err = v.bring()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("params: commit %q: %w", t.Name, err)
	}
	return v, count, nil
}

// parts reads what the ranks have written, and names those that have not.
func (s *Store) parts(t *transaction) ([]*manifest, error) {
	parts, missing := make([]*manifest, t.Ranks), []string{}
	for rank := range parts {
		m, err := readManifest(s.o.FS, s.path(manifests, partFile(t.ID, rank)), "")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, fmt.Sprint(rank))
		case err != nil:
			return nil, fmt.Errorf("params: commit %q: %w", t.Name, err)
		}
		parts[rank] = m
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: %q cannot be committed: of %d ranks these have not written their part: %s",
			ErrConflict, t.Name, t.Ranks, strings.Join(missing, ", "))
	}
	return parts, nil
}

// adopt adds the objects of a part, those that another has as well once, and returns their numbers.
func (v *saving) adopt(m *manifest) []uint32 {
	numbers := make([]uint32, len(m.lengths))
	for i, length := range m.lengths {
		id := m.identity(uint32(i))
		number, there := v.written[id]
		if !there {
			number = v.newObject(length, m.sumsOf(uint32(i)))
			v.written[id] = number
			if length > 0 {
				v.inherit(number, m, uint32(i))
			}
		}
		numbers[i] = number
	}
	return numbers
}

// bring finds the packs that the transaction has made.
func (v *saving) bring() error {
	for _, id := range v.m.packs {
		info, err := v.s.o.FS.Stat(v.packPath(id))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		v.made, v.stored = append(v.made, id), v.stored+info.Size
	}
	if err := v.shared(); errors.Is(err, errVanished) {
		return pack.Damaged(v.s.path(packs), "a pack of the transaction %v is gone", v.stage)
	} else if err != nil {
		return err
	}
	return nil
}

// checkBoxes counts the tensors that the boxes make whole, or says of the first that they do not what is wrong with it.
func checkBoxes(boxes []box) (int, error) {
	of, names := map[string][]box{}, []string{}
	for _, b := range boxes {
		if _, there := of[b.tensor]; !there {
			names = append(names, b.tensor)
		}
		of[b.tensor] = append(of[b.tensor], b)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := checkCover(of[name]); err != nil {
			return 0, err
		}
	}
	return len(names), nil
}
