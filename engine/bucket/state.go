package bucket

import "github.com/persisting/persisting/engine/table"

type state struct {
	checkpoint, unflushedRows  int64
	unflushedBytes, tableBytes int64
	memory, pageBytes          int64
	pageHits, pageMisses       int64
	tally                      tally
	indexing                   table.Indexing
	rows, first                int64
	version                    uint64
	fragments                  int
}

func (rs *rows) state() state {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := state{
		checkpoint:     rs.checkpoint,
		unflushedRows:  rs.visible() - rs.checkpoint,
		unflushedBytes: rs.unflushed,
		memory:         rs.tail.Bytes() + rs.pages.Bytes(),
		pageBytes:      rs.pages.Bytes(),
		tally:          rs.tally,
		indexing:       rs.table.Indexing(),
	}
	// Of one moment, under the lock of reads: what a scrape adds up must not count a row twice.
	s.pageHits, s.pageMisses = rs.pages.Counts()
	if newest := rs.table.Newest(); newest != nil {
		defer newest.Release()
		s.rows = newest.Rows()
		if _, first, _, err := newest.Place(0); err == nil { // in memory, as change has seen to
			s.first = first
		}
		s.version = newest.Version()
		s.fragments = newest.Fragments()
		s.tableBytes = newest.DataBytes()
	}
	return s
}
