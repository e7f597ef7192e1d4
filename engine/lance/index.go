package lance

// #include "persisting_native.h"
import "C"

import (
	"encoding/json"
	"fmt"
)

// IndexSpec says which index to build.
type IndexSpec struct {
	Column string `json:"column"`
	// Type is btree, bitmap, label_list, ngram, zonemap, bloom_filter, inverted,
	// ivf_flat, ivf_pq, ivf_sq, ivf_hnsw_flat, ivf_hnsw_pq or ivf_hnsw_sq.
	Type string `json:"type"`
	// Name of the index. The default is the column's with "_idx" after it.
	Name string `json:"name"`
	// Replace says whether an index of this name may be replaced.
	Replace bool `json:"replace"`
	// Options of the type: see docs/queries.md.
	Options map[string]any `json:"options"`
}

// Index describes an index.
type Index struct {
	Name          string          `json:"name"`
	Column        string          `json:"column"`
	Type          string          `json:"type"`
	RowsIndexed   int64           `json:"rows_indexed"`
	RowsUnindexed int64           `json:"rows_unindexed"` // queries look at them one by one
	Parts         int             `json:"parts"`
	Bytes         *int64          `json:"bytes"` // nil when unknown
	Details       json.RawMessage `json:"details"`
}

// IndexProgress says how far the build of an index is.
type IndexProgress struct {
	Name      string `json:"name"`
	Stage     string `json:"stage"`
	Completed int64  `json:"completed"`
	Total     *int64 `json:"total"` // nil when unknown
	Unit      string `json:"unit"`
}

// CreateIndex builds an index of the rows that are there, and returns the version
// with it. Append may run meanwhile; Compact must not. A fault of spec is
// ErrInvalid or ErrSchema.
func (t *Table) CreateIndex(spec IndexSpec) (*Snapshot, error) {
	_, stored, err := t.columns.Load().project([]string{spec.Column})
	if err != nil {
		return nil, err
	}
	// The native half knows stored names alone.
	spec.Column = stored[0]
	if spec.Options == nil {
		spec.Options = map[string]any{}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("%w: options of index: %w", ErrInvalid, err)
	}
	return t.snapshot("create index", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_create_index(t.handle, cText(string(text)), out, e)
	})
}

// CancelIndexes has CreateIndex and ExtendIndexes end soon with ErrCancelled,
// those that run and those to come.
func (t *Table) CancelIndexes() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle != nil {
		// It sets a flag, which builds look at; who waits for them is told by these.
		C.pn_table_cancel_indexes(t.handle, nil)
	}
}

// DropIndex removes an index; its files go with the versions that have it.
func (t *Table) DropIndex(name string) (*Snapshot, error) {
	return t.snapshot("drop index", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_drop_index(t.handle, cText(name), out, e)
	})
}

// ExtendIndexes lets the named indexes take in the rows that they lack, and
// returns the version after it. Append may run meanwhile; Compact must not.
func (t *Table) ExtendIndexes(names []string) (*Snapshot, error) {
	return t.snapshot("extend indexes", func(out *snapshotHandle, e *owned) status {
		return C.pn_table_extend_indexes(t.handle, cNames(names), out, e)
	})
}

// IndexProgress says how far the build is that runs now, nil if none does.
func (t *Table) IndexProgress() (*IndexProgress, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return nil, ErrClosed
	}
	text, err := nativeText("index progress", func(out, e *owned) status {
		return C.pn_table_index_progress(t.handle, out, e)
	})
	if err != nil {
		return nil, in(t.dir, err)
	}
	var p *IndexProgress
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("%w: progress of index: %w", ErrInternal, err)
	}
	return p, nil
}

// Indexes describes the indexes.
func (s *Snapshot) Indexes() ([]Index, error) {
	if err := s.hold(); err != nil {
		return nil, err
	}
	defer s.Release()
	text, err := nativeText("indexes", func(out, e *owned) status { return C.pn_snapshot_indexes(s.handle, out, e) })
	if err != nil {
		return nil, in(s.dir, err)
	}
	var indexes []Index
	if err := json.Unmarshal([]byte(text), &indexes); err != nil {
		return nil, fmt.Errorf("%w: description of indexes: %w", ErrInternal, err)
	}
	c, err := s.columns()
	if err != nil {
		return nil, err
	}
	for i := range indexes {
		// And gives these, which the user has never seen.
		for j, f := range c.stored {
			if f.Name == indexes[i].Column {
				indexes[i].Column = c.original.Field(j).Name
			}
		}
	}
	return indexes, nil
}

// IndexStatistics returns what Lance says of an index, as JSON.
func (s *Snapshot) IndexStatistics(name string) (string, error) {
	if err := s.hold(); err != nil {
		return "", err
	}
	defer s.Release()
	text, err := nativeText("index statistics", func(out, e *owned) status {
		return C.pn_snapshot_index_statistics(s.handle, cText(name), out, e)
	})
	return text, in(s.dir, err)
}
