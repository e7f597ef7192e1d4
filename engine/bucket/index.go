package bucket

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/metrics"
)

const (
	// indexRows is the number of rows that an index lacks from which it takes them
	// in, unless they are less than one in indexShare of those that it has: each
	// time some kinds are written anew.
	indexRows  = 4096
	indexShare = 32
)

// IndexSpec says which index to build.
type IndexSpec = lance.IndexSpec

// ParseIndexSpec reads an IndexSpec from JSON; a member that it has not is a fault.
func ParseIndexSpec(text []byte) (s IndexSpec, err error) { return s, parse(text, &s, "index") }

// Index describes an index, or the build of one.
type Index struct {
	lance.Index
	Progress *lance.IndexProgress `json:"progress"` // nil once it is built
}

// CreateIndex builds an index of the rows that are acknowledged. Appends, flushes
// and reads go on; compactions, and changes of the type of a column, wait.
func (b *Bucket) CreateIndex(spec IndexSpec) error {
	if spec.Name == "" {
		spec.Name = spec.Column + "_idx"
	}
	if err := b.flush(false); err != nil {
		return err
	}
	b.compacting.Lock()
	defer b.compacting.Unlock()
	began := time.Now()
	err := b.createIndex(spec)
	b.ended(metrics.Index, true, began, err)
	return err
}

func (b *Bucket) createIndex(spec IndexSpec) error {
	indexes, err := b.builtIndexes()
	if err != nil {
		return err
	}
	for _, have := range indexes {
		if have.Name == spec.Name && !spec.Replace {
			return fmt.Errorf("%w: there is an index %q, of type %s on column %q: give another name, or replace it", engine.ErrInvalid, have.Name, have.Type, have.Column)
		}
	}
	return b.changeIndexes(func(t *lance.Table) (*lance.Snapshot, error) { return t.CreateIndex(spec) })
}

// DropIndex removes an index.
func (b *Bucket) DropIndex(name string) error {
	b.compacting.Lock()
	defer b.compacting.Unlock()
	if err := b.haveIndex(name); err != nil {
		return err
	}
	return b.changeIndexes(func(t *lance.Table) (*lance.Snapshot, error) { return t.DropIndex(name) })
}

// Indexes describes the indexes, and the one that is being built.
func (b *Bucket) Indexes() ([]Index, error) {
	built, err := b.builtIndexes()
	if err != nil {
		return nil, err
	}
	indexes := make([]Index, 0, len(built))
	for _, i := range built {
		indexes = append(indexes, Index{Index: i})
	}
	b.mu.Lock()
	table := b.table
	b.mu.Unlock()
	if table == nil {
		return indexes, nil
	}
	progress, err := table.IndexProgress()
	if err != nil {
		return nil, fault(err)
	}
	if progress != nil {
		i := slices.IndexFunc(indexes, func(i Index) bool { return i.Name == progress.Name })
		if i < 0 {
			indexes = append(indexes, Index{Index: lance.Index{Name: progress.Name}, Progress: progress})
		} else {
			indexes[i].Progress = progress
		}
	}
	return indexes, nil
}

// IndexStatistics returns what Lance says of an index, as JSON.
func (b *Bucket) IndexStatistics(name string) (string, error) {
	if err := b.haveIndex(name); err != nil {
		return "", err
	}
	snapshot := b.newest()
	defer snapshot.Release()
	text, err := snapshot.IndexStatistics(name)
	return text, fault(err)
}

// builtIndexes describes the indexes of the newest version.
func (b *Bucket) builtIndexes() ([]lance.Index, error) {
	if b.closing.Load() {
		return nil, engine.ErrClosed
	}
	snapshot := b.newest()
	if snapshot == nil {
		return nil, nil
	}
	defer snapshot.Release()
	indexes, err := snapshot.Indexes()
	if err != nil {
		return nil, fault(err)
	}
	b.sawIndexes(snapshot, indexes)
	return indexes, nil
}

// sawIndexes notes for the metrics what the indexes of a version are.
func (b *Bucket) sawIndexes(of *lance.Snapshot, indexes []lance.Index) {
	seen := indexing{version: of.Version(), rows: of.NextRowID(), count: len(indexes)}
	for _, i := range indexes {
		seen.lacking = max(seen.lacking, i.RowsUnindexed)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if seen.version >= b.indexing.version {
		b.indexing = seen
	}
}

// checkUnindexed refuses, with a [*SchemaError], a change that would cut off an
// index of a column.
func (b *Bucket) checkUnindexed(column, change string) error {
	indexes, err := b.builtIndexes()
	if err != nil {
		return err
	}
	for _, i := range indexes {
		if i.Column == column {
			return &engine.SchemaError{Column: column, Reason: fmt.Sprintf("has the index %q: before %s, drop_index(%[1]q), and create it anew after that", i.Name, change)}
		}
	}
	return nil
}

func (b *Bucket) haveIndex(name string) error {
	indexes, err := b.builtIndexes()
	if err != nil {
		return err
	}
	names := make([]string, len(indexes))
	for i, have := range indexes {
		if have.Name == name {
			return nil
		}
		names[i] = have.Name
	}
	return fmt.Errorf("%w: %q, there are %q", engine.ErrNoIndex, name, names)
}

// changeIndexes makes a version of the table with other indexes. The caller holds
// b.compacting.
func (b *Bucket) changeIndexes(do func(*lance.Table) (*lance.Snapshot, error)) error {
	if err := b.home.Fault(); err != nil {
		return err
	}
	table, _, err := b.committed()
	switch {
	case err != nil:
		return err
	case table == nil:
		return fmt.Errorf("%w: the bucket has no rows to index", engine.ErrInvalid)
	}
	snapshot, err := b.change(func() (*lance.Snapshot, error) { return do(table) })
	switch {
	case errors.Is(err, lance.ErrCancelled):
		return engine.ErrClosed
	case errors.Is(err, engine.ErrPoisoned):
		return err
	}
	if err != nil {
		return fault(err)
	}
	b.publish(snapshot, 0)
	_, err = b.builtIndexes() // for the metrics
	return err
}

// extendIndexes lets those indexes take in new rows that lack enough of them, and
// least at least. The caller holds b.compacting.
func (b *Bucket) extendIndexes(least int64) error {
	began := time.Now()
	behind, err := b.indexesBehind(least)
	if len(behind) == 0 && (err == nil || errors.Is(err, engine.ErrClosed)) {
		return err
	}
	if err == nil {
		err = b.changeIndexes(func(t *lance.Table) (*lance.Snapshot, error) { return t.ExtendIndexes(behind) })
	}
	b.ended(metrics.Index, false, began, err)
	return err
}

// indexesBehind names the indexes that should take in rows.
func (b *Bucket) indexesBehind(least int64) (behind []string, err error) {
	indexes, err := b.builtIndexes()
	if err != nil || len(indexes) == 0 {
		return nil, err
	}
	rows := b.checkpointed()
	if rows-b.indexedTo < least { // what was not taken in then is not taken in now
		return nil, nil
	}
	for _, i := range indexes {
		few := least > 1 && i.RowsUnindexed < i.RowsIndexed/indexShare
		if i.RowsUnindexed >= least && !few {
			behind = append(behind, i.Name)
		}
	}
	if len(behind) > 0 {
		b.indexedTo = rows
	}
	return behind, nil
}

// checkpointed is the number of rows that are in the table.
func (b *Bucket) checkpointed() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checkpoint
}
