package trajectory

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/table"
)

// versions are those of the policy, of each row; of a store, from the first sample on that wants no older ones.
type versions struct {
	chunks []*[chunkRows]int32
	newest []int32 // of the rows of each chunk
	rows   int64
}

// add notes the versions of the rows that come next.
func (v *versions) add(values []int32) {
	for _, version := range values {
		if v.rows&(chunkRows-1) == 0 {
			v.chunks, v.newest = append(v.chunks, new([chunkRows]int32)), append(v.newest, version)
		}
		n := v.rows >> chunkBits
		v.chunks[n][v.rows&(chunkRows-1)] = version
		v.newest[n] = max(v.newest[n], version)
		v.rows++
	}
}

// at is the version of a row.
func (v *versions) at(offset int64) int32 { return v.chunks[offset>>chunkBits][offset&(chunkRows-1)] }

// from is a row before which all are older.
func (v *versions) from(oldest int32) int64 {
	for n, newest := range v.newest {
		if newest >= oldest {
			return int64(n) << chunkBits
		}
	}
	return v.rows
}

// versionsOf are those of a batch with the columns that are given.
func versionsOf(given arrow.Record) []int32 {
	return given.Column(given.Schema().FieldIndices(VersionColumn)[0]).(*array.Int32).Int32Values()
}

// noteVersions adds those of rows that were appended. The caller holds s.writing.
func (s *Store) noteVersions(given arrow.Record) {
	if v := s.index.versions; v != nil { // which is set under s.writing
		s.mu.Lock()
		defer s.mu.Unlock()
		v.add(versionsOf(given))
	}
}

// startVersions reads the versions of all rows, unless that was done. Appends wait for it.
func (s *Store) startVersions() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.index.versions != nil {
		return nil
	}
	total := s.index.rows
	if err := acknowledged(s.steps, total); err != nil {
		return err
	}
	v := new(versions)
	c, err := s.steps.Query(table.Query{Columns: []string{VersionColumn}}, nil)
	if err != nil {
		return err
	}
	err = each(c, func(rec arrow.Record, _ int64) error {
		v.add(versionsOf(rec))
		return nil
	})
	if err == nil && v.rows != total {
		err = fmt.Errorf("%w: %s has the versions of %d rows, want %d", engine.ErrCorrupt, s.dir, v.rows, total)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.versions = v
	return nil
}
