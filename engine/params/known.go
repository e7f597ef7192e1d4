package params

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/persisting/persisting/engine/params/pack"
)

// known is what is in the packs now. A pack whose index is damaged shares nothing; Verify tells of it.
func (s *Store) known() (map[pack.Sum]location, error) {
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
		objects, err := pack.Read(s.o.FS, s.packPath(id), id)
		switch {
		case errors.As(err, new(*pack.DamageError)):
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
	maps.Copy(s.objects.where, v.brought)
	for id, object := range v.written {
		if v.m.lengths[object] > 0 && v.layered[object] == nil {
			s.objects.where[id] = location{v.m.packs[v.m.packOf[object]], v.m.offsets[object]}
		}
	}
}
