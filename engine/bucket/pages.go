package bucket

import (
	"container/list"
	"math/bits"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
)

const (
	pageBytes   = 8 << 10 // about what a page takes in the files of the table
	maxPageRows = 4096
)

// pageKey names the rows [number*rows, (number+1)*rows) with the columns of one
// schema version.
type pageKey struct {
	schema       uint64
	rows, number int64
}

type page struct {
	key   pageKey
	rec   arrow.Record
	bytes int64
}

// pageCache keeps the pages of the table that were read last. Rows never
// change, so a page can only be too short: when it was the last one and the
// table has grown. The bucket's lock guards it.
type pageCache struct {
	pages map[pageKey]*list.Element
	used  list.List // of *page, newest first
	bytes int64

	hits, misses int64 // of get
}

// get returns the page if it holds its first rows rows, retained.
func (c *pageCache) get(key pageKey, rows int64) arrow.Record {
	rec := c.find(key, rows)
	if rec == nil {
		c.misses++
	}
	return rec
}

// find is get for a page that is asked for again if it is not there.
func (c *pageCache) find(key pageKey, rows int64) arrow.Record {
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

// put keeps a reference to rec and drops old pages down to budget bytes.
func (c *pageCache) put(key pageKey, rec arrow.Record, budget int64) {
	if c.pages == nil {
		c.pages = map[pageKey]*list.Element{}
	}
	if e, ok := c.pages[key]; ok {
		c.remove(e)
	}
	rec.Retain()
	p := &page{key: key, rec: rec, bytes: batch.RowBytes(rec)}
	c.pages[key] = c.used.PushFront(p)
	c.bytes += p.bytes
	c.shrink(budget)
}

// shrink drops the oldest pages until the others take at most budget bytes.
func (c *pageCache) shrink(budget int64) {
	for c.bytes > budget && c.used.Len() > 0 {
		c.remove(c.used.Back())
	}
}

func (c *pageCache) remove(e *list.Element) {
	p := c.used.Remove(e).(*page)
	delete(c.pages, p.key)
	c.bytes -= p.bytes
	p.rec.Release()
}

func (c *pageCache) clear() {
	c.shrink(-1)
}

// pageRows is the number of rows of a page of the table: a power of two.
func pageRows(s *lance.Snapshot) int64 {
	rows := max(s.Rows(), 1)
	each := max(s.DataBytes()/rows, 1)
	n := min(max(pageBytes/each, 1), maxPageRows)
	return 1 << (bits.Len64(uint64(n)) - 1)
}
