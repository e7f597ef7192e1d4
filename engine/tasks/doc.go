// Package tasks knows which rows of a bucket each of some tasks has consumed, and which it can consume next.
//
//	rows.go      what is asked of the bucket
//	tasks.go     what has been consumed: changes, in a journal; the opening of it
//	ready.go     what can be consumed: the rows that have a value in some columns and are not marked
//	presence.go  which rows have a value in which columns, looked at once
//
// A row is ready for a task when it has a value in each of the columns that the task needs and the task has not consumed it.
// [Tasks.Take] chooses rows and marks them under one lock, so no two takers of a task get the same one.
//
// # Layers
//
// Above marks, which are sets of offsets and the records of their changes; journal, which keeps these; and table, whose marker says
// that there is a journal. Below the bucket, which is a [Rows] to this package: what it reads the rows from.
//
// # Concurrency
//
// All methods of [Tasks] may be called from any goroutine. Two locks: the one of the marks, under which rows are chosen and their
// records get their order, and after it that of what is known of the columns. Under both the bucket is read, so it takes its own
// locks after these. A call waits for the disk, where its mark has to be there first, with neither.
//
// # What a crash costs
//
// A mark is acknowledged as a put is: it survives the process when the call returns, and a power failure after the sync interval.
// Where rows were lost that it concerns, as a bucket without a log loses some at each crash, it is forgotten by the next opening,
// since others come to these offsets. Which rows have which columns is derived from the rows, and costs a look at them.
package tasks
