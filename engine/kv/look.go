package kv

import (
	"errors"
	"fmt"

	"github.com/persisting/persisting/engine/statefile"
)

// lookTries is how often that is begun anew. Checkpoints come every 30 seconds, or when the journals are as long as the index.
const lookTries = 10

// look opens a store for one who only looks. It reads what an opening after a crash of the owner would read, and takes no lock:
// a checkpoint is replaced as a whole, the journal grows at its end, where a torn frame is the end, and each block is compared
// with its header. Nothing is written.
func look(dir string, o Options) (*Store, error) {
	for range lookTries {
		s := newStore(dir, o)
		err := s.lookOnce()
		if err == nil {
			s.start()
			return s, nil
		}
		if err = errors.Join(err, s.release()); !errors.Is(err, errOvertaken) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("kv: look at %s: %w", dir, errOvertaken)
}

func (s *Store) lookOnce() error {
	if err := s.identify(); err != nil {
		return err
	}
	if !s.o.unlocked {
		var err error
		if s.inUseBy, err = statefile.HolderOf(s.dir); err != nil {
			return fmt.Errorf("kv: look: %w", err)
		}
	}
	_, err := s.recover()
	return err
}
