package bucket

import (
	"errors"

	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/statefile"
)

// OpenReadOnly opens a bucket for reading, which another process may have open, and which need not be one that this process may
// write to. It takes no lock and changes nothing.
//
// Each call sees all rows that were acknowledged before it began, but for those of a bucket without a log that are not flushed,
// which are in the memory of their process alone. It may see rows that are written and not acknowledged yet. What writes
// fails with [engine.ErrReadOnly]. A bucket that is damaged, or that a repair has taken back to an older version while it was
// open, is an error. Of the options those count that say what memory may be taken, and who is told.
func OpenReadOnly(dir string, opts options.Options) (*Bucket, error) {
	b, err := openReadOnly(dir, opts)
	return b, lance.Advised(err)
}

func openReadOnly(dir string, opts options.Options) (*Bucket, error) {
	// The bucket is another process's, which has it in its metrics.
	opts.EnableMetrics = false
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	dir, err := layout.Path(dir)
	if err != nil {
		return nil, err
	}
	opts.Complete()
	c := newCore(statefile.Looking(dir, opts.FS), opts)
	b := assemble(c)
	f := &follower{core: c, rows: b.rows}
	b.ingest.follower = f
	if err := f.begin(); err != nil {
		f.close()
		return nil, errors.Join(err, b.release(true))
	}
	b.inBackground(b.rows.memoryLoop)
	return b, nil
}

// Renew brings in what was acknowledged before the call began, where another process has the bucket, and returns the number of rows that
// are acknowledged. With noWait the error is [engine.ErrWouldBlock] where that takes more than a look.
func (b *Bucket) Renew(noWait bool) (int64, error) {
	if err := b.ingest.catchUp(noWait); err != nil {
		return 0, err
	}
	return b.rows.acknowledgedRows(), nil
}

// renewed is Renew for what sees the table alone: where the bucket is this process's, nobody else changes it.
func (b *Bucket) renewed() error {
	if b.ingest.follower == nil {
		return nil
	}
	return b.ingest.follower.catchUp(false)
}
