package trajectory

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/content"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

const contentDir = "content"

// ContentKey is in the metadata of the columns that hold names of values, which are in a place of their own. What the values mean is
// said there, for those who read them.
const ContentKey = "persisting.content"

// Keep stores values, the only column of a batch, and returns the names by which steps hold them: each is there once, and on disk
// before its name is given out. One that no step names when the store is opened again is removed.
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

// sweep removes the values that no step names which can be read, but for those that were kept since the opening.
func (s *Store) sweep() (removed int64, err error) {
	defer engine.Contain(&err)
	used, err := s.namedContent()
	if err != nil {
		return 0, err
	}
	// A failure of the power must not bring steps back whose values are gone.
	if err := s.episodes.Sync(); err != nil {
		return 0, err
	}
	return s.content.Sweep(used)
}

// namedContent are the names that rows have which can be read. Rows that come meanwhile have such as are kept.
func (s *Store) namedContent() (map[content.Name]struct{}, error) {
	used := map[content.Name]struct{}{}
	names := contentColumns(s.Schema())
	if len(names) == 0 {
		return used, nil
	}
	c, err := s.steps.Query(table.Query{Columns: names, WithOffset: true}, nil)
	if err != nil {
		return nil, err
	}
	return used, each(c, func(rec arrow.Record, _ int64) error {
		if s.closed.Load() {
			return engine.ErrClosed
		}
		offsets, ok := rec.Column(rec.Schema().FieldIndices(lance.OffsetColumn)[0]).(*array.Int64)
		if !ok {
			return fmt.Errorf("%w: %s: offsets are %v", engine.ErrCorrupt, s.dir, rec.Schema())
		}
		there := s.readable(offsets.Int64Values())
		for _, name := range names {
			noteContent(used, rec.Column(rec.Schema().FieldIndices(name)[0]), there)
		}
		return nil
	})
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

// noteContent adds the names in the cells of a column, of some of the rows.
func noteContent(used map[content.Name]struct{}, column arrow.Array, rows []bool) {
	for i, yes := range rows {
		if yes && column.IsValid(i) { // a last observation may have none
			start, end := column.(array.ListLike).ValueOffsets(i)
			cells := numbers(column.(array.ListLike).ListValues(), int(start), int(end-start))
			used[content.Name(cells)] = struct{}{}
		}
	}
}

// contentColumns are the columns that hold names.
func contentColumns(schema *arrow.Schema) (names []string) {
	if schema == nil {
		return nil
	}
	for _, f := range schema.Fields() {
		if f.Metadata.FindKey(ContentKey) >= 0 {
			names = append(names, f.Name)
		}
	}
	return names
}

// checkContent refuses a column of names that can hold none.
func checkContent(f arrow.Field) error {
	list, ok := f.Type.(*arrow.FixedSizeListType)
	if f.Metadata.FindKey(ContentKey) < 0 || ok && list.Len() == content.NameBytes && list.Elem().ID() == arrow.UINT8 {
		return nil
	}
	return &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("holds names of values, which are lists of %d uint8, not %s", content.NameBytes, f.Type)}
}
