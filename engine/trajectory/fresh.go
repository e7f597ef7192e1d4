package trajectory

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/table"
)

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
