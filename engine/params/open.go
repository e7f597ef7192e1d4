package params

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/engine/procs"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

const (
	formatVersion = 1

	// diskProcs are Go's processors beside reads and writes that wait for the disk. On two cores, 1 GB, in turn with 2, 4 and 8: hot
	// loads 5.8, 6.9 and 7.6 GB/s, not verified 8.2, 10.0 and 9.5, saves 0.50, 0.66 and 0.74 (raw 0.53 to 0.58), loads from the
	// disk 1.30 to 1.37 (raw 2.2 to 2.6) with any.
	diskProcs = 4
)

// identity is the content of the file "parameters".
type identity struct {
	Format int   `json:"format"`
	ID     ident `json:"id"`
}

// Open opens the store of a directory, which is made if it is missing.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Readers == 0 {
		o.Readers = min(16, 4*procs.Cores())
	}
	if o.Readers < 0 {
		return nil, invalid("readers is %d, want at least 1", o.Readers)
	}
	if o.now == nil {
		o.now = time.Now
	}
	procs.AtLeast(diskProcs)
	s := &Store{o: o, dir: dir, locks: o.locks, objects: newObjectIndex(), begun: map[ident]func() error{}, ended: make(chan struct{}), looked: map[string]looked{}}
	if s.locks == nil {
		s.locks = fileLocks{dir}
	}
	err := s.check()
	if errors.Is(err, fs.ErrNotExist) {
		if o.ReadOnly {
			return nil, fmt.Errorf("%w: there is no parameter store in %s", ErrNotFound, dir)
		}
		err = s.create()
	}
	if err == nil && o.Metrics != nil {
		err = s.measure()
	}
	if err != nil {
		return nil, fmt.Errorf("params: open %s: %w", dir, err)
	}
	return s, nil
}

// check reads what says that a directory is a store.
func (s *Store) check() error {
	content, err := statefile.Read(s.o.FS, s.path(storeName))
	if err != nil {
		return err
	}
	var found identity
	if err := json.Unmarshal(content, &found); err != nil {
		return pack.Damaged(s.path(storeName), "%v", err)
	}
	if found.Format != formatVersion {
		return fmt.Errorf("the store has format version %d, this program knows %d", found.Format, formatVersion)
	}
	return nil
}

// create makes a store, unless another does so at this moment.
func (s *Store) create() error {
	if err := s.o.FS.MkdirAll(s.dir); err != nil {
		return err
	}
	if err := s.isFree(); err != nil { // before a file is made in what is another's
		if s.check() == nil {
			return nil // another opener was faster
		}
		return err
	}
	return s.alone(func() error {
		if err := s.check(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, name := range []string{catalogDir, manifests, packs, leases} {
			if err := s.o.FS.MkdirAll(s.path(name)); err != nil {
				return err
			}
		}
		content, err := json.Marshal(identity{formatVersion, newIdent()})
		if err != nil {
			return err
		}
		return statefile.Write(s.o.FS, s.path(storeName), content)
	})
}

// isFree refuses to make a store where another one has lost the file that says what it is, or where something else is.
func (s *Store) isFree() error {
	names, err := s.o.FS.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		switch name {
		case gateName, storeName, storeName + ".tmp":
		case catalogDir, manifests, packs, leases: // of a creation that was cut short, then empty
			inside, err := s.o.FS.ReadDir(s.path(name))
			if err != nil {
				return err
			}
			if len(inside) > 0 {
				return pack.Damaged(s.path(storeName), "it is gone, though %s is not empty", s.path(name))
			}
		default:
			return invalid("%s holds %s and is no parameter store: want an empty directory", s.dir, name)
		}
	}
	return nil
}
