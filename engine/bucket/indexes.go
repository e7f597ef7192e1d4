package bucket

import (
	"time"

	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
)

// CreateIndex builds an index of the rows that are acknowledged. Appends, flushes
// and reads go on; compactions, and changes of the type of a column, wait.
func (b *Bucket) CreateIndex(spec table.IndexSpec) error {
	if err := b.flusher.flush(false); err != nil {
		return err
	}
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	began := time.Now()
	err := b.table.CreateIndex(spec)
	b.ended(metrics.Index, true, began, err)
	return err
}

// DropIndex removes an index.
func (b *Bucket) DropIndex(name string) error {
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	return b.table.DropIndex(name)
}

// Indexes describes the indexes, and the one that is being built.
func (b *Bucket) Indexes() ([]table.Index, error) {
	if err := b.renewed(); err != nil {
		return nil, err
	}
	return b.table.Indexes()
}

// IndexStatistics returns what Lance says of an index, as JSON.
func (b *Bucket) IndexStatistics(name string) (string, error) { return b.table.IndexStatistics(name) }
