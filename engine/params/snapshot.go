package params

import (
	"sync"

	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/procs"
	"golang.org/x/sync/errgroup"
)

// snapshot is a copy of the tensors of a version, outside the Go heap, which would take twice as much for it.
type snapshot struct {
	manifest ident // of the version
	arena    *memory.Arena
	tensors  map[string][]byte
}

func newSnapshot() *snapshot {
	return &snapshot{arena: memory.NewArena(), tensors: map[string][]byte{}}
}

// memory returns the copy of a tensor that has a length, nil where there is none.
func (k *snapshot) memory(name string, length int64) []byte {
	if k == nil || int64(len(k.tensors[name])) != length {
		return nil
	}
	return k.tensors[name]
}

// update makes it a copy of tensors, but for those that it is told to be one of already.
func (k *snapshot) update(manifest ident, tensors []Tensor, current map[string]bool) error {
	k.manifest = manifest
	wanted := map[string]bool{}
	var group errgroup.Group
	group.SetLimit(procs.Cores())
	for i := range tensors {
		t := &tensors[i]
		wanted[t.Name] = true
		if current[t.Name] {
			continue
		}
		own := k.tensors[t.Name]
		if len(own) != len(t.Data) {
			k.arena.Free(own)
			own = k.arena.Allocate(len(t.Data))
			k.tensors[t.Name] = own
		}
		group.Go(func() error {
			copy(own, t.Data)
			return nil
		})
	}
	for name, own := range k.tensors {
		if !wanted[name] {
			k.arena.Free(own)
			delete(k.tensors, name)
		}
	}
	return group.Wait()
}

// free gives the memory back. There may be none.
func (k *snapshot) free() {
	if k == nil {
		return
	}
	for _, own := range k.tensors {
		k.arena.Free(own)
	}
	k.tensors = nil
}

// snapshots are those of the names of a store.
type snapshots struct {
	mu     sync.Mutex
	of     map[string]*snapshot
	closed bool
}

// take returns the snapshot of a name, which nobody else has then; nil where there is none.
func (k *snapshots) take(name string) *snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := k.of[name]
	delete(k.of, name)
	return found
}

// keep gives one back, in the place of what another save has kept meanwhile.
func (k *snapshots) keep(name string, s *snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		s.free()
		return
	}
	if other := k.of[name]; other != nil {
		other.free()
	}
	if k.of == nil {
		k.of = map[string]*snapshot{}
	}
	k.of[name] = s
}

// close gives the memory of all back.
func (k *snapshots) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.of {
		s.free()
	}
	k.of, k.closed = nil, true
}
