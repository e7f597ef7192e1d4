package trajectory

import (
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// filter is the rows that a condition takes, of those that there were when it was asked. Nil takes all. It does not change: a later
// one takes its place.
type filter struct {
	rows     []int64  // in their order
	bits     []uint64 // the same, a bit for each row
	end      int64    // rows from here on were not asked for
	episodes []uint32 // of the rows, each once
}

// ask returns the rows that a condition takes now, of which before are known; nil for none. What is acknowledged is brought into the
// table for it.
func (s *Store) ask(condition string, before *filter) (*filter, error) {
	s.mu.RLock()
	f := &filter{end: s.index.visible}
	s.mu.RUnlock()
	f.bits = make([]uint64, (f.end+63)/64)
	if before != nil {
		f.rows = slices.Clip(before.rows)
		copy(f.bits, before.bits)
		condition = fmt.Sprintf("%s >= %d AND (%s)", lance.OffsetColumn, before.end, condition)
	}
	c, err := s.steps.Query(table.Query{Filter: condition, Columns: []string{}, WithOffset: true}, nil)
	if err != nil {
		return nil, err
	}
	err = each(c, func(rec arrow.Record, _ int64) error {
		offsets := rec.Column(rec.Schema().FieldIndices(lance.OffsetColumn)[0]).(*array.Int64)
		for _, row := range offsets.Int64Values() {
			f.add(row)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	numbers := map[uint32]bool{}
	for _, row := range f.rows {
		numbers[s.index.at(row).episode] = true
	}
	f.episodes = slices.Sorted(maps.Keys(numbers))
	return f, nil
}

// add notes a row that the condition takes; those that came since it was asked belong to the next time.
func (f *filter) add(row int64) {
	if row < f.end {
		f.rows = append(f.rows, row)
		f.bits[row/64] |= 1 << (row % 64)
	}
}

// takes says whether the condition takes a row, and whether it was asked at all.
func (f *filter) takes(row int64) (takes, asked bool) {
	if f == nil {
		return true, true
	}
	if row >= f.end {
		return false, false
	}
	return f.bits[row/64]>>(row%64)&1 == 1, true
}

// from is the place of the first row that is not before one.
func (f *filter) from(row int64) int64 {
	return int64(sort.Search(len(f.rows), func(i int) bool { return f.rows[i] >= row }))
}
