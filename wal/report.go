package wal

import (
	"fmt"
	"time"
)

// Range is a run of rows, First <= row < End. An End below zero is not known.
type Range struct{ First, End int64 }

// String returns the range for a person, both ends included.
func (r Range) String() string {
	if r.End < 0 {
		return fmt.Sprintf("%d to an unknown row", r.First)
	}
	return fmt.Sprintf("%d to %d", r.First, r.End-1)
}

// Known returns how many rows there are in ranges, without those of which the number is not known.
func Known(ranges []Range) (rows int64) {
	for _, r := range ranges {
		rows += max(r.End-r.First, 0)
	}
	return rows
}

// Report says what Open or Verify found.
type Report struct {
	Segments int   // files that belong to the log
	Entries  int64 // replayed
	Rows     int64 // replayed
	Bytes    int64 // bodies replayed
	End      int64 // the row that is appended next

	// TornBytes at the end of TornFile were being written when the machine stopped. They were never acknowledged, or only
	// before the sync of a log with a SyncInterval.
	TornBytes int64
	TornFile  string

	Missing []Range       // rows that a salvage, now or before, could not read
	Broken  []string      // damaged files moved aside, by their new names; under Verify those that would be
	Faults  []error       // what was wrong with them
	Removed []string      // segments that held only rows of the table
	Took    time.Duration // until everything was read
}
