package bucket

import (
	"fmt"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/tasks"
)

// consumed is the bucket as tasks see it.
type consumed struct{ *Bucket }

func (c consumed) Writable() error { return c.writable() }

func (c consumed) Changes() uint64 { return c.rows.changes.Load() }

func (c consumed) DeleteRows(offsets []int64) (int64, error) {
	return c.remove(func(t *lance.Table, _ *lance.Snapshot) (*lance.Snapshot, error) { return t.DeleteRows(offsets) })
}

func newTasks(b *Bucket) *tasks.Tasks {
	return tasks.New(consumed{b}, tasks.Options{
		Home:         b.home,
		Salvage:      b.salvages(),
		SyncInterval: b.opts.WALSyncInterval,
		Logger:       b.logger,
		Panicked:     func(cause error) { b.panicked(fmt.Errorf("%w: %w", engine.ErrPanic, cause)) },
	})
}
