package main

import (
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/table"
)

var (
	viewClose  = (*table.View).Close
	viewOpen   = (*bucket.Bucket).At
	viewRows   = succeedsBoth((*table.View).Rows)
	viewSchema = succeeds((*table.View).Schema)
)

// viewRead does not say whether it may wait: what a version has is on the disk.
func viewRead(v *table.View, offset, count int64, run bool) (*table.Cursor, error) {
	if err := checkRange(offset, count); err != nil {
		return nil, err
	}
	return v.Read(offset, count, run)
}
