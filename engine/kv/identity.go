package kv

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

// identify reads what store it is, or makes one.
func (s *Store) identify() error {
	path := filepath.Join(s.dir, identityName)
	content, err := statefile.Read(s.o.FS, path)
	if err == nil {
		err = json.Unmarshal(content, &s.identity)
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, statefile.ErrDamaged):
		if err := s.reidentify(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("kv: open: %w", err)
	}
	s.noteCapacity()
	var id blob.Identity
	copy(id[:], s.identity.ID)
	s.blobs = blob.NewStore(s.o.FS, s.dir, id, s.identity.Seed, s.identity.SegmentBytes)
	s.blobs.ReadOnly = s.o.ReadOnly
	s.index.perSegment = s.blobs.MaxBlocks()
	s.owners.seed = s.identity.Seed
	s.catalog = catalog{fs: s.o.FS, dir: s.dir, salt: blob.Checksum([][]byte{id[:]})}
	return nil
}

// reidentify finds in a segment what store it is; without any segments a new one begins. Each segment repeats the identity and the
// seed, so that losing the file "store" loses no block: with another seed every hash would be another.
func (s *Store) reidentify() error {
	found, ok := blob.Identify(s.o.FS, s.dir)
	if ok {
		id := found.ID()
		s.identity = identity{Format: 1, ID: id[:], Seed: found.Seed, SegmentBytes: found.SegmentBytes, Capacity: s.o.CapacityBytes}
		return s.saveIdentity()
	}
	slots, err := blob.NewStore(s.o.FS, s.dir, blob.Identity{}, 0, 0).Slots()
	if s.o.ReadOnly && len(slots) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("%w in %s", ErrNoStore, s.dir)
	}
	if err != nil || len(slots) > 0 {
		return fmt.Errorf("%w: %s has %d segments, but neither they nor the file %s say which store it is", errors.Join(ErrCorrupt, err), s.dir, len(slots), identityName)
	}
	var random [24]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("kv: make store: %w", err)
	}
	s.identity = identity{
		Format: 1, ID: random[:16], Seed: binary.LittleEndian.Uint64(random[16:]),
		SegmentBytes: s.o.SegmentBytes, Capacity: s.o.CapacityBytes,
	}
	return s.saveIdentity()
}

// saveIdentity writes the file "store"; who only looks keeps it in memory.
func (s *Store) saveIdentity() error {
	if s.o.ReadOnly {
		return nil
	}
	content, err := json.Marshal(s.identity)
	if err == nil {
		err = statefile.Write(s.o.FS, filepath.Join(s.dir, identityName), content)
	}
	if err != nil {
		return fmt.Errorf("kv: write identity: %w", err)
	}
	return nil
}

// noteCapacity has the next opening know the capacity of this one, which is a convenience: on a full disk it is not written.
func (s *Store) noteCapacity() {
	if s.identity.Capacity == s.o.CapacityBytes {
		return
	}
	s.identity.Capacity = s.o.CapacityBytes
	if err := s.saveIdentity(); err != nil {
		s.o.Logger.Warn("the capacity is not noted", "error", err)
	}
}

// lastCapacity is that of the last opening of a directory; 0 where nothing says it.
func lastCapacity(fsys vfs.FS, dir string) int64 {
	var last identity
	content, err := statefile.Read(fsys, filepath.Join(dir, identityName))
	if err != nil || json.Unmarshal(content, &last) != nil {
		return 0 // the opening finds out what is wrong
	}
	return last.Capacity
}
