package bucket

import (
	"fmt"

	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/statefile"
)

// Salvage opens a bucket whose lock is held, and takes the lock over, gives up what is damaged in its log, moves the rest into
// the table, and closes the bucket: the end of a repair.
func Salvage(dir string, lock *statefile.Lock) error {
	b, err := openLocked(dir, salvaging(), lock)
	if err != nil {
		return fmt.Errorf("engine: open the repaired bucket: %w", err)
	}
	if err := b.Close(); err != nil { // flushes what was salvaged
		return fmt.Errorf("engine: flush the repaired bucket: %w", err)
	}
	return nil
}

// salvaging are the options of a bucket that is opened to be put in order.
func salvaging() options.Options {
	o := options.Default()
	o.WALRecovery, o.FlushInterval, o.CompactFragments, o.EnableMetrics = "salvage", 0, 0, false
	o.Complete()
	return o
}
