package table

import (
	"errors"
	"fmt"
	"slices"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// An index takes in the rows that it lacks once they are so many, unless they are less than one in indexShare of those that
// it has: each time some kinds are written anew.
const (
	IndexRows  = 4096
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

// CreateIndex builds an index of the rows that the table has. Appends and reads go on. The caller holds t.Reshaping.
func (t *Table) CreateIndex(spec IndexSpec) error {
	if spec.Name == "" {
		spec.Name = spec.Column + "_idx"
	}
	indexes, err := t.builtIndexes()
	if err != nil {
		return err
	}
	for _, have := range indexes {
		if have.Name == spec.Name && !spec.Replace {
			return fmt.Errorf("%w: there is an index %q, of type %s on column %q: give another name, or replace it", engine.ErrInvalid, have.Name, have.Type, have.Column)
		}
	}
	return t.changeIndexes(func(l *lance.Table) (*lance.Snapshot, error) { return l.CreateIndex(spec) })
}

// DropIndex removes an index. The caller holds t.Reshaping.
func (t *Table) DropIndex(name string) error {
	if err := t.haveIndex(name); err != nil {
		return err
	}
	return t.changeIndexes(func(l *lance.Table) (*lance.Snapshot, error) { return l.DropIndex(name) })
}

// Indexes describes the indexes, and the one that is being built.
func (t *Table) Indexes() ([]Index, error) {
	built, err := t.builtIndexes()
	if err != nil {
		return nil, err
	}
	indexes := make([]Index, 0, len(built))
	for _, i := range built {
		indexes = append(indexes, Index{Index: i})
	}
	table := t.lance()
	if table == nil {
		return indexes, nil
	}
	progress, err := table.IndexProgress()
	if err != nil {
		return nil, Fault(err)
	}
	if progress != nil {
		// One that is built anew is there already, and goes on answering meanwhile.
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
func (t *Table) IndexStatistics(name string) (string, error) {
	if err := t.haveIndex(name); err != nil {
		return "", err
	}
	snapshot := t.Newest()
	if snapshot == nil {
		return "", engine.ErrClosed
	}
	defer snapshot.Release()
	text, err := snapshot.IndexStatistics(name)
	return text, Fault(err)
}

// Indexing is what the indexes were when they were last looked at.
func (t *Table) Indexing() Indexing {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.indexing
}

// LookAtIndexes has Indexing be that of the newest version.
func (t *Table) LookAtIndexes() error {
	_, err := t.builtIndexes()
	return err
}

// builtIndexes describes the indexes of the newest version.
func (t *Table) builtIndexes() ([]lance.Index, error) {
	// To list indexes loads each, and a close must not wait for that.
	if t.stopped.Load() {
		return nil, engine.ErrClosed
	}
	snapshot := t.Newest()
	if snapshot == nil {
		return nil, nil
	}
	defer snapshot.Release()
	indexes, err := snapshot.Indexes()
	if err != nil {
		return nil, Fault(err)
	}
	t.sawIndexes(snapshot, indexes)
	return indexes, nil
}

// sawIndexes notes what the indexes of a version are.
func (t *Table) sawIndexes(of *lance.Snapshot, indexes []lance.Index) {
	seen := Indexing{version: of.Version(), rows: of.NextRowID(), Count: len(indexes)}
	for _, i := range indexes {
		seen.lacking = max(seen.lacking, i.RowsUnindexed)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// Two look at the same time, and the one with the older version may come last.
	if seen.version >= t.indexing.version {
		t.indexing = seen
	}
}

// CheckUnindexed refuses, with an [*engine.SchemaError], a change that would cut off an
// index of a column.
func (t *Table) CheckUnindexed(column, change string) error {
	indexes, err := t.builtIndexes()
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

func (t *Table) haveIndex(name string) error {
	indexes, err := t.builtIndexes()
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

// changeIndexes makes a version of the table with other indexes, and publishes it.
func (t *Table) changeIndexes(do Step) error {
	if err := t.home.Fault(); err != nil {
		return err
	}
	table, _, err := t.committed()
	switch {
	case err != nil:
		return err
	case table == nil:
		return fmt.Errorf("%w: the bucket has no rows to index", engine.ErrInvalid)
	}
	snapshot, err := t.commit(func() (*lance.Snapshot, error) { return do(table) })
	switch {
	case errors.Is(err, lance.ErrCancelled):
		return engine.ErrClosed
	case errors.Is(err, engine.ErrPoisoned):
		return err
	}
	if err != nil {
		return Fault(err)
	}
	// No lock of the owner: an index changes how rows are found, and no row.
	t.Publish(snapshot)
	return t.LookAtIndexes()
}

// ExtendIndexes lets the named indexes take in the rows that they lack. The caller holds t.Reshaping.
func (t *Table) ExtendIndexes(names []string) error {
	return t.changeIndexes(func(l *lance.Table) (*lance.Snapshot, error) { return l.ExtendIndexes(names) })
}

// IndexesBehind names the indexes of a table of so many rows that should take in those that they lack, least at least. The
// caller holds t.Reshaping.
func (t *Table) IndexesBehind(rows, least int64) (behind []string, err error) {
	indexes, err := t.builtIndexes()
	if err != nil || len(indexes) == 0 {
		return nil, err
	}
	if rows-t.indexedTo < least { // what was not taken in then is not taken in now
		return nil, nil
	}
	for _, i := range indexes {
		// A thorough compaction asks with a least of 1, and takes in whatever is lacking.
		few := least > 1 && i.RowsUnindexed < i.RowsIndexed/indexShare
		if i.RowsUnindexed >= least && !few {
			behind = append(behind, i.Name)
		}
	}
	if len(behind) > 0 {
		t.indexedTo = rows
	}
	return behind, nil
}
