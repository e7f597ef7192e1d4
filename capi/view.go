package main

import (
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/table"
)

var (
	viewClose  = (*table.View).Close
	viewOpen   = (*bucket.Bucket).At
	viewSchema = succeeds((*table.View).Schema)
)

func viewRows(v *table.View) (rows, end int64, err error) {
	rows, end = v.Rows()
	return rows, end, nil
}

func viewRead(v *table.View, offset, count int64, run bool) (*table.Cursor, error) {
	if err := checkRange(offset, count); err != nil {
		return nil, err
	}
	return v.Read(offset, count, run)
}
