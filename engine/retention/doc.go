// Package retention decides which rows of a bucket are not kept any longer: the oldest, where there are more of them, or more bytes, or
// older ones than asked for.
//
//	retention.go  what the bounds say of a version of the table
//	times.go      when rows came into the table, in times.json
//
// It removes nothing: it says below which offset rows are to go, and the bucket removes them.
//
// # Layers
//
// Above statefile, which writes times.json, and layout, which names it. Below the bucket. A version of the table is a [Version] to it.
//
// # Concurrency
//
// A [Retention] may be used from any goroutine once [Retention.Open] has returned. Its lock is held while times.json is written, so
// that the file has what memory has, and calls nobody.
//
// # What a crash costs
//
// times.json is replaced as a whole, after the rows that it tells of are in the table. An entry that is lost makes rows seem younger,
// and they are kept longer: nothing is removed that a bound keeps.
package retention
