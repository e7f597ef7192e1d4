package trajectory

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/trajectory/mirror"
)

const mirrorDir = "mirror"

// nearRows is how many rows a mirror lacks at most before appends wait for it.
const nearRows = 10_000

// fixedColumns are the columns of a frame whose values all have one size, and their places there.
func fixedColumns(given *arrow.Schema) (fields []mirror.Field, places []int) {
	for i, f := range given.Fields() {
		if w := fixedWidth(f.Type); w > 0 {
			fields, places = append(fields, mirror.Field{Name: f.Name, Width: w}), append(places, i)
		}
	}
	return fields, places
}

// fixedWidth is the size of a value of a column, 0 where they have several.
func fixedWidth(t arrow.DataType) int64 {
	if t.ID() == arrow.BOOL {
		return 1
	}
	if list, ok := t.(*arrow.FixedSizeListType); ok {
		return int64(list.Len()) * int64(widthOf(list.Elem()))
	}
	return int64(widthOf(t))
}

// hotColumns are the columns of a batch that a mirror has.
func hotColumns(given arrow.Record) []mirror.Column {
	_, places := fixedColumns(given.Schema())
	out := make([]mirror.Column, len(places))
	for k, i := range places {
		switch column := given.Column(i); column.NullN() {
		case 0:
			out[k].Values = fixedValues(column)
		case column.Len(): // it may have no memory for values at all
			out[k].Null = column.IsNull
		default:
			out[k].Values, out[k].Null = fixedValues(column), column.IsNull
		}
	}
	return out
}

// fixedValues are all values of a column, side by side.
func fixedValues(column arrow.Array) []byte {
	switch c := column.(type) {
	case *array.Boolean:
		out := make([]byte, c.Len())
		for i := range out {
			if c.Value(i) {
				out[i] = 1
			}
		}
		return out
	case *array.FixedSizeList:
		n := int(c.DataType().(*arrow.FixedSizeListType).Len())
		return numbers(c.ListValues(), c.Data().Offset()*n, c.Len()*n)
	}
	return numbers(column, 0, column.Len())
}

// keepHot copies rows that were appended, from that offset on, to the mirror, if there is one. An append does not fail for it: a
// mirror that cannot go on is given up, and samplers read the table. The caller holds s.writing.
func (s *Store) keepHot(first int64, given arrow.Record) {
	m := s.mirror.Load()
	if m == nil {
		return
	}
	err := m.Append(first, hotColumns(given), int(given.NumRows()))
	if err == nil || s.closed.Load() {
		return
	}
	err = errors.Join(err, m.Close())
	s.mirror.CompareAndSwap(m, mirror.New(*m.Layout()))
	s.o.Logger.Error("samplers read from the table until the store is opened again", "path", s.dir, "error", err)
}

// startMirror returns the mirror that samplers read from. The first one has it made, which takes as long as to read what it lacks;
// appends go on meanwhile.
func (s *Store) startMirror() (*mirror.Mirror, error) {
	s.mirroring.Lock()
	defer s.mirroring.Unlock()
	if s.closed.Load() {
		return nil, engine.ErrClosed
	}
	if m := s.mirror.Load(); m != nil {
		return m, nil
	}
	s.writing.Lock()
	f := s.frame
	s.writing.Unlock()
	if f == nil {
		return nil, fmt.Errorf("%w: there is no step yet, and so no column to be sampled", ErrNotFound)
	}
	m, err := s.openMirror(f)
	if err != nil {
		return nil, err
	}
	if err := s.catchUp(m, f); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (s *Store) openMirror(f *frame) (*mirror.Mirror, error) {
	fields, _ := fixedColumns(f.given)
	rows := mirror.NewLayout(fields)
	if s.o.ReadOnly || s.o.HotBytes == 0 {
		return mirror.New(rows), nil
	}
	return mirror.Open(s.o.FS, filepath.Join(s.dir, mirrorDir), rows, s.o.HotBytes)
}

// catchUp copies what a mirror lacks, the last of it while no appends come, and makes it that of the store.
func (s *Store) catchUp(m *mirror.Mirror, f *frame) error {
	for {
		s.mu.RLock()
		total := s.index.visible
		s.mu.RUnlock()
		first, end := m.Missing(total)
		if end-first <= nearRows && end == total {
			break
		}
		if err := s.copyRows(m, f, first, end); err != nil {
			return err
		}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	total := s.index.rows // which changes under s.writing only
	if err := acknowledged(s.steps, total); err != nil {
		return err
	}
	for first, end := m.Missing(total); first < end; first, end = m.Missing(total) {
		if err := s.copyRows(m, f, first, end); err != nil {
			return err
		}
	}
	s.mirror.Store(m)
	return nil
}

// copyRows copies rows of the table to a mirror.
func (s *Store) copyRows(m *mirror.Mirror, f *frame, first, end int64) error {
	c, err := s.steps.Read(first, end-first, false)
	if err != nil {
		return err
	}
	at := first
	err = each(c, func(rec arrow.Record, _ int64) error {
		given := f.columnsGiven(rec)
		defer given.Release()
		at += given.NumRows()
		return m.Append(at-given.NumRows(), hotColumns(given), int(given.NumRows()))
	})
	if err == nil && at != end {
		err = fmt.Errorf("%w: %s: rows %d to %d were read to %d", engine.ErrCorrupt, s.dir, first, end, at)
	}
	return err
}

// readCold reads rows that a mirror lacks, as one take.
func (s *Store) readCold(f *frame) mirror.Reader {
	return func(rows []int64, add func(columns []mirror.Column, count int)) error {
		c, err := s.steps.Take(rows, false)
		if err != nil {
			return err
		}
		return each(c, func(rec arrow.Record, _ int64) error {
			given := f.columnsGiven(rec)
			defer given.Release()
			add(hotColumns(given), int(given.NumRows()))
			return nil
		})
	}
}
