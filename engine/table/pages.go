package table

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
)

const (
	pageBytes   = 8 << 10 // about what a page takes in the files of the table
	maxPageRows = 4096

	// pagedReads is the number of pages up to which a read goes through the page
	// cache; longer ones stream past it.
	pagedReads = 4

	// nowPages and nowRows bound what a read or a take that must not wait decodes on
	// its caller's thread, where no disk is needed.
	nowPages = 2
	nowRows  = 8
)

// Sight is what a read of the table sees.
type Sight struct {
	Snapshot *lance.Snapshot
	Schema   *arrow.Schema // what columns the rows are given
	Number   uint64        // that no other schema has
}

// pageKey names the rows [number*rows, (number+1)*rows) with the columns of one
// schema.
type pageKey struct {
	schema       uint64
	rows, number int64
}

type page struct {
	key   pageKey
	rec   arrow.Record
	bytes int64
}

// Pages keeps the pages of the table that were read last. Gets of single rows of a table of
// 50,000, any of them next, are 43,250 a second with it and 1,111 without (medians of four
// pairs of processes in turns, on two processors). Rows never
// change, so a page can only be too short: when it was the last one and the
// table has grown. Its lock is held for no more than a look; the owner may hold its own.
type Pages struct {
	room  func() int64 // bytes that it may keep; called without the lock
	bytes atomic.Int64

	mu           sync.Mutex
	pages        map[pageKey]*list.Element
	used         list.List // of *page, newest first
	closed       bool
	hits, misses int64
}

// NewPages keeps, of the pages that are read, as many as room says at that time.
func NewPages(room func() int64) *Pages {
	return &Pages{room: room, pages: map[pageKey]*list.Element{}}
}

// Bytes is what the pages take.
func (c *Pages) Bytes() int64 { return c.bytes.Load() }

// Counts is how many pages were found, and how many were not.
func (c *Pages) Counts() (hits, misses int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits, c.misses
}

// Read returns the rows [first, end) that are left, in batches that the caller releases, through the pages. Where there are too
// many for that, ok is false and nothing is returned. With noWait the error is [engine.ErrWouldBlock] where the disk is needed.
func (c *Pages) Read(s Sight, first, end int64, noWait bool) (recs []arrow.Record, ok bool, err error) {
	rows := pageRows(s.Snapshot)
	if end-first > pagedReads*rows {
		return nil, false, nil
	}
	// Counted by whole pages: a read of two rows can need two, one at each side of a border.
	pages := (end+rows-1)/rows - first/rows
	for n := first / rows; n*rows < end; n++ {
		start := n * rows
		from, to, err := places(s.Snapshot, start, max(first, start), min(end, start+rows))
		if err != nil {
			return recs, true, err
		}
		// All rows of it were removed; Lance has nothing to read there.
		if from == to {
			continue
		}
		// With the number of rows, as a page of another size begins elsewhere; with the schema's
		// number, as the same rows have other columns under another.
		key := pageKey{schema: s.Number, rows: rows, number: n}
		rec := c.get(key, to)
		if rec == nil {
			if noWait && pages > nowPages {
				return recs, true, engine.ErrWouldBlock
			}
			rec, err = c.load(s, key, to, noWait)
		}
		if err != nil {
			return recs, true, err
		}
		recs = append(recs, rec.NewSlice(from, to))
		rec.Release()
	}
	return recs, true, nil
}

// AtHand returns the page that has all of the rows [first, end), of a version from which no row was removed, retained, and where
// they are in it; nil where it is not kept.
func (c *Pages) AtHand(s Sight, first, end int64) (rec arrow.Record, from, to int64) {
	size := pageRows(s.Snapshot)
	key := pageKey{schema: s.Number, rows: size, number: first / size}
	start := key.number * size
	// Two pages would be two records, which the caller wants as one.
	if end > start+size {
		return nil, 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(key, end-start), first - start, end - start
}

// places counts the rows that are left from offset start to first and to end.
func places(s *lance.Snapshot, start, first, end int64) (from, to int64, err error) {
	base, _, _, err := s.Place(start)
	if err == nil {
		from, _, _, err = s.Place(first)
	}
	if err == nil {
		to, _, _, err = s.Place(end)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("engine: look for removed rows: %w", err)
	}
	return from - base, to - base, nil
}

// get returns the page if it holds its first rows rows, retained.
func (c *Pages) get(key pageKey, rows int64) arrow.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	rec := c.find(key, rows)
	if rec == nil {
		c.misses++
	}
	return rec
}

// find is get for a page that is asked for again if it is not there. The caller holds c.mu.
func (c *Pages) find(key pageKey, rows int64) arrow.Record {
	e, ok := c.pages[key]
	if !ok || e.Value.(*page).rec.NumRows() < rows {
		return nil
	}
	c.hits++
	p := e.Value.(*page)
	c.used.MoveToFront(e)
	p.rec.Retain()
	return p.rec
}

// load reads a page, with at least its first want rows, and keeps it; the caller releases it.
func (c *Pages) load(s Sight, key pageKey, want int64, noWait bool) (arrow.Record, error) {
	rec, err := readAll(s, key.number*key.rows, key.rows, noWait)
	if err != nil {
		return nil, err
	}
	// The version says that they are there. Whoever went on with fewer would take the rows behind
	// for others.
	if rec.NumRows() < want {
		rec.Release()
		return nil, fmt.Errorf("%w: the table has %d of the %d rows from offset %d", engine.ErrCorrupt, rec.NumRows(), want, key.number*key.rows)
	}
	// Asked for before the lock of the pages is taken: the owner answers under a lock of its own.
	c.put(key, rec, c.room())
	return rec, nil
}

// put keeps a reference to rec and drops old pages down to budget bytes.
func (c *Pages) put(key pageKey, rec arrow.Record, budget int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	// Two may have read the same page at the same time, or it was the last one, and is longer now.
	if e, ok := c.pages[key]; ok {
		c.remove(e)
	}
	rec.Retain()
	p := &page{key: key, rec: rec, bytes: batch.RowBytes(rec)}
	c.pages[key] = c.used.PushFront(p)
	c.bytes.Add(p.bytes)
	c.keep(budget)
}

// Shrink drops the oldest pages until the others take at most budget bytes.
func (c *Pages) Shrink(budget int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(budget)
}

func (c *Pages) keep(budget int64) {
	for c.bytes.Load() > budget && c.used.Len() > 0 {
		c.remove(c.used.Back())
	}
}

func (c *Pages) remove(e *list.Element) {
	p := c.used.Remove(e).(*page)
	delete(c.pages, p.key)
	c.bytes.Add(-p.bytes)
	p.rec.Release()
}

// Close drops all pages, and keeps none from now on.
func (c *Pages) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.keep(-1)
}

// pageRows is the number of rows of a page of the table: a power of two, so that a table whose rows change their size a little
// still has the same pages, and those that are kept are found again.
func pageRows(s *lance.Snapshot) int64 {
	rows := max(s.Rows(), 1)
	each := max(s.DataBytes()/rows, 1)
	n := min(max(pageBytes/each, 1), maxPageRows)
	return 1 << (bits.Len64(uint64(n)) - 1)
}

// readAll reads rows of the table into one batch with the columns of s.
func readAll(s Sight, first, count int64, noWait bool) (arrow.Record, error) {
	var reader *lance.Reader
	var err error
	if noWait {
		reader, err = s.Snapshot.ReadNow(first, count)
	} else {
		reader, err = s.Snapshot.Read(first, count, nil, int(count))
	}
	if errors.Is(err, lance.ErrWouldBlock) {
		return nil, engine.ErrWouldBlock
	}
	if err != nil {
		return nil, fmt.Errorf("engine: read table: %w", err)
	}
	defer reader.Close()
	// Lance gives large rows in more batches than were asked for.
	var parts []arrow.Record
	defer func() { batch.ReleaseAll(parts) }()
	for {
		rec, err := nextAligned(reader, s.Schema)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, rec)
	}
	// The caller has counted the rows that are left, and there was one at least.
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: the table has no rows from offset %d on", engine.ErrCorrupt, first)
	}
	return batch.Concat(s.Schema, parts)
}

// Take returns the rows with the given ids, in the order given; the caller releases them. Rows end at visible, for the
// [*engine.RemovedError] of one that is not left. With noWait the error is [engine.ErrWouldBlock] where the disk is needed.
func (s Sight) Take(ids []int64, visible int64, noWait bool) (arrow.Record, error) {
	var rec arrow.Record
	// What comes of it where nothing below is tried.
	err := lance.ErrWouldBlock
	switch {
	case !noWait:
		rec, err = s.Snapshot.Take(ids, nil)
	// More would hold up an event loop for longer than a thread takes to be woken.
	case len(ids) <= nowRows:
		rec, err = s.Snapshot.TakeNow(ids)
	}
	switch {
	case errors.Is(err, lance.ErrRowNotFound):
		return nil, removed(s.Snapshot, ids, visible)
	case errors.Is(err, lance.ErrWouldBlock):
		return nil, engine.ErrWouldBlock
	case err != nil:
		return nil, fmt.Errorf("engine: take from table: %w", err)
	}
	defer rec.Release()
	return batch.Align(rec, s.Schema)
}
