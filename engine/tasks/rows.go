package tasks

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/table"
)

// Rows is the bucket whose rows are consumed.
type Rows interface {
	// Writable returns the reason why nothing can be written.
	Writable() error
	// Renew brings in what was put before the call, and returns the number of rows that are acknowledged.
	Renew(noWait bool) (int64, error)
	// FirstFrom returns the first offset at or after offset whose row is left.
	FirstFrom(offset int64) (int64, error)
	// Changes is a number that grows with each change of columns and each removal but from the front.
	Changes() uint64
	// Schema has the columns, nil where there are none.
	Schema() (*arrow.Schema, uint64)
	Read(offset, count int64, noWait bool) (*table.Cursor, error)
	Query(q table.Query, vector []float64) (*table.Cursor, error)
	// DeleteRows removes the rows at some offsets, and returns how many there were.
	DeleteRows(offsets []int64) (int64, error)
}
