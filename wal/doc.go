// Package wal is a segmented write-ahead log: rows, counted from 0, are safe in it from their acknowledgement until the table
// that they belong to holds them on disk. It stores opaque bytes and knows nothing of their meaning.
//
// # Life cycle
//
// Open replays what the table lacks and brings the directory in order. Append queues an entry of one or more rows, gives it the
// next offsets and returns; one goroutine writes all queued entries with one call and, when Options.SyncInterval is zero, brings
// all of them to the disk with it. With a SyncInterval, WriteNow spares small entries the way to that goroutine. Done callbacks,
// Wait and OnAdvance tell when an entry is acknowledged. Cut removes the segments that the table has made needless. Close ends the
// log with a mark.
//
// All methods of a Log may be called at the same time. They take its locks in this order: cutMu (one Cut at a
// time), turn (who does the writer's work), syncMu (the open file), then mu (the queue, and those who wait) or listMu (the list of
// segments). The last two are held for moments only, so that Append waits neither for the disk nor for a segment that is made or
// removed.
//
// A [Follower] reads along in another process, and changes nothing. An entry that is acknowledged is in its file as a whole, so it
// takes what is there in part for the end, and goes on there; a segment that continues the one before by its chain is the next. It
// notices that rows it has read were cut or taken back by what is missing, and then begins anew.
//
// # Directory
//
//	00000000000000000001.wal          a segment; the name is its sequence number
//	00000000000000000002.wal
//	00000000000000000003.wal.tmp      a segment in the making; Open removes it
//	00000000000000000001.wal.broken   a damaged segment that a salvage moved aside; the log never touches it again
//
// Any other name that ends in .wal is refused, all else is ignored. The log takes no lock: its owner does. Package segment has the
// files themselves: their format, how one is made, written and read. This package decides what follows from what is in them.
//
// # Order of writing
//
// A new segment: sync the old one; make the new one as .tmp with its preamble, at full size; fsync it; rename it; fsync the
// directory; write "sealed" into the old one and sync that; only then write an entry into the new one. Cut: remove all but the
// newest segment, fsync the directory, then remove the newest if it goes too, and fsync again.
//
// # Torn or damaged
//
// Reading stops at the first place of a segment that holds no sound record. In any segment but the last that is damage, unless
// the last one is empty and the one before just lacks the mark that the last one's header foretells. In the last segment it is
// where a crash interrupted the writing, a torn tail, except that each of these proves damage:
//
//   - a later record has a sound head that promises more than the bytes up to this place;
//   - the file is smaller than its capacity, without an end mark (recovery and Close write the mark first, then cut);
//   - the file is larger than the log ever makes it: half as large again as its capacity;
//   - the segment ends with "sealed", but there is no next one;
//   - the preamble is not sound.
//
// A torn tail is cut off and reported once the whole log was verified. A damaged log is not opened: the error is a *segment.Error
// with file and byte, and nothing on disk changes. Recovery ends the last segment with "closed", so nothing is written behind a
// tail that was cut.
//
// With Recovery set to Salvage, entries behind the damage are searched for at every multiple of 8 and replayed. A damaged segment
// is replaced, in one rename, by one that holds what could be read, after that and a copy of the original (.broken) were synced.
// A missing segment is replaced by an empty one. Later opens, strict ones too, read the result without complaint and list the
// rows that are lost in Report.Missing.
//
// # What a crash may cost
//
// SyncInterval zero: nothing that was acknowledged. Above zero: nothing when the process dies; when the machine does, what was
// acknowledged within the last SyncInterval and the duration of one sync. The rows that survive are always a prefix of those
// appended. An entry survives as a whole or not at all.
//
// # Failure
//
// After a failed write or sync the log takes no more entries: every call that writes returns ErrFailed with the cause, those that
// wait are told, and what was written but not acknowledged is taken back if the file system still allows that. A second sync is
// not tried, because the kernel may have dropped the data by then. Opening the log again recovers what was acknowledged.
//
// # Tests
//
// go test ./wal/... takes seconds. "go test ./wal -slow", or PERSISTING_SLOW in the environment, runs the exhaustive variants: every
// bit of a log turned, 20,000 lives with crashes for each way of syncing, 500 rounds of kill -9. "go test ./wal -run Golden -update"
// writes the files in testdata anew, and "go test ./wal -fuzz FuzzSegment" searches for directories that break something.
//
// # Layers
//
// Above vfs and segment. Below the journal, the bucket and whatever else needs that rows survive: it knows no table, and is told by its
// owner which rows one has.
package wal
