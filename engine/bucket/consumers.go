package bucket

import (
	"fmt"

	"github.com/persisting/persisting/engine"
)

// Commit notes that a consumer is done with the rows below offset, which is at most
// that after the last row. It is on disk when the call returns, and so are these
// rows: otherwise, after a power failure, others could come to offsets that the
// consumer would not look at again. A commit may go back.
func (b *Bucket) Commit(consumer string, offset int64) error {
	if err := b.writable(); err != nil {
		return err
	}
	if consumer == "" {
		return fmt.Errorf("%w: a consumer needs a name", engine.ErrName)
	}
	if err := b.ingest.catchUp(false); err != nil {
		return err
	}
	if end := b.rows.acknowledgedRows(); offset < 0 || offset > end {
		return fmt.Errorf("%w: offset %d, want 0 to %d", engine.ErrNotFound, offset, end)
	}
	// Before the commit is written: an offset on the disk whose rows are not there would be given
	// to others, after a power failure, and this consumer would never see those.
	if err := b.flusher.settleBelow(offset); err != nil {
		return err
	}
	return b.consumers.Change(func(offsets map[string]int64) { offsets[consumer] = offset })
}

// Consumers returns the offsets of all consumers.
func (b *Bucket) Consumers() (map[string]int64, error) {
	if b.closing.Load() {
		return nil, engine.ErrClosed
	}
	if b.ingest.follower != nil {
		return b.ingest.follower.consumers()
	}
	return b.consumers.All()
}
