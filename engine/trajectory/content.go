package trajectory

import (
	"errors"
	"fmt"
	"iter"
	"maps"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/content"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

const contentDir = "content"

// Keep stores values, the only column of a batch, and returns the names by which steps hold them: each is there once, and on disk
// before its name is given out. It is removed by an opening once it was named by steps that nobody can read any more, and by no others.
// One that no step ever named stays, as somebody in another process may be about to.
func (s *Store) Keep(rows arrow.Record) ([]content.Name, error) {
	values, err := content.Check(rows)
	if err != nil {
		return nil, err
	}
	return s.content.Keep(values)
}

// Kept returns the rows of values by their names, in that order.
func (s *Store) Kept(names []content.Name) (*table.Cursor, error) { return s.content.Take(names) }

// sweepBeside removes what no step names any more while the store is used.
func (s *Store) sweepBeside() {
	s.sweeping.Go(func() {
		switch removed, err := s.sweep(); {
		case err != nil && !errors.Is(err, engine.ErrClosed):
			s.o.Logger.Error("values that no step names stay", "path", s.dir, "error", err)
		case removed > 0:
			s.o.Logger.Info("values that no step names were removed", "path", s.dir, "values", removed)
		}
	})
}

// sweep removes the values that were named by steps which can not be read any more, and by no others; those that were kept or named
// since the opening stay.
func (s *Store) sweep() (removed int64, err error) {
	defer engine.Contain(&err)
	names, err := s.unusedContent()
	if err != nil {
		return 0, err
	}
	// A failure of the power must not bring steps back whose values are gone.
	if err := s.episodes.Sync(); err != nil {
		return 0, err
	}
	return s.content.Sweep(names)
}

// unusedContent are the names that only such rows have as can not be read. Those of rows that come meanwhile are held.
func (s *Store) unusedContent() (map[content.Name]struct{}, error) {
	used, unused := map[content.Name]struct{}{}, map[content.Name]struct{}{}
	columns := contentColumns(s.Schema())
	if len(columns) == 0 {
		return unused, nil
	}
	c, err := s.steps.Query(table.Query{Columns: columns, WithOffset: true}, nil)
	if err != nil {
		return nil, err
	}
	err = each(c, func(rec arrow.Record, _ int64) error {
		if s.closed.Load() {
			return engine.ErrClosed
		}
		offsets, ok := rec.Column(rec.Schema().FieldIndices(lance.OffsetColumn)[0]).(*array.Int64)
		if !ok {
			return fmt.Errorf("%w: %s: offsets are %v", engine.ErrCorrupt, s.dir, rec.Schema())
		}
		there := s.readable(offsets.Int64Values())
		for name, i := range namesIn(rec, columns) {
			if there[i] {
				used[name] = struct{}{}
			} else {
				unused[name] = struct{}{}
			}
		}
		return nil
	})
	maps.DeleteFunc(unused, func(name content.Name, _ struct{}) bool {
		_, ok := used[name]
		return ok
	})
	return unused, err
}

// holdContent has the values stay that rows name in columns, all of which must be there.
func (s *Store) holdContent(rows arrow.Record, columns []string) error {
	if len(columns) == 0 {
		return nil
	}
	names := map[content.Name]struct{}{}
	for name := range namesIn(rows, columns) {
		names[name] = struct{}{}
	}
	return s.content.Hold(names)
}

// readable says of rows which somebody can read. One that is not acknowledged yet may become one.
func (s *Store) readable(offsets []int64) []bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]bool, len(offsets))
	for i, offset := range offsets {
		out[i] = offset >= s.index.visible || !s.index.of(offset).gone()
	}
	return out
}

// namesIn are the names in columns that hold such, with the row of each.
func namesIn(rec arrow.Record, columns []string) iter.Seq2[content.Name, int] {
	return func(yield func(content.Name, int) bool) {
		for _, column := range columns {
			cells := rec.Column(rec.Schema().FieldIndices(column)[0])
			for i := range cells.Len() {
				if cells.IsNull(i) { // a last observation may have none
					continue
				}
				start, end := cells.(array.ListLike).ValueOffsets(i)
				name := numbers(cells.(array.ListLike).ListValues(), int(start), int(end-start))
				if !yield(content.Name(name), i) {
					return
				}
			}
		}
	}
}
