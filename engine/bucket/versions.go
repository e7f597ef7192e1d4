package bucket

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// Versions lists the versions that are there, the oldest first. Compactions remove
// those that are neither tagged nor in use.
func (b *Bucket) Versions() ([]table.Version, error) {
	if err := b.renewed(); err != nil {
		return nil, err
	}
	return b.table.Versions()
}

// At opens a version for reading, which fails with [engine.ErrNotFound] when it is not
// there. The view outlives the bucket.
func (b *Bucket) At(version uint64) (*table.View, error) {
	if err := b.renewed(); err != nil {
		return nil, err
	}
	return b.table.At(version)
}

// Tag gives a version a name, under which Lance and its clean-up know it as well.
// The tag is on disk when the call returns.
func (b *Bucket) Tag(name string, version uint64) error {
	if err := table.CheckTag(name); err != nil {
		return err
	}
	if err := b.writable(); err != nil {
		return err
	}
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	return b.table.Tag(name, version)
}

// Untag takes a tag away, on disk when the call returns. The version goes with the
// next compaction.
func (b *Bucket) Untag(name string) error {
	if err := b.writable(); err != nil {
		return err
	}
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	return b.table.Untag(name)
}

// Restore gives the bucket the columns and the rows of an old version. Rows that
// came later are removed; offsets are not given again.
func (b *Bucket) Restore(version uint64) error {
	// Held until it is done, or a compaction could take the version away that is to come back.
	view, err := b.At(version)
	if err != nil {
		return err
	}
	defer view.Close()
	return b.columns.alter(
		func(*arrow.Schema) error { return nil },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.Restore(version) },
	)
}
