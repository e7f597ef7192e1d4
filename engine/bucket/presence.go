package bucket

import (
	"sync"

	"github.com/persisting/persisting/engine/marks"
)

// presenceRows is up to how many rows are read to see which columns they have. The columns of more are asked for alone, by a
// query, for which what is in memory is flushed.
const presenceRows = 1 << 16

// presence knows which rows have a value in which columns, of the columns that were asked about. It is derived from the rows, looks
// at each once, and is made anew where more than rows at the front were removed, or columns changed.
type presence struct {
	mu      sync.Mutex
	changes uint64 // of the rows, when the columns were looked at
	columns map[string]*seen
}

// seen is a column: the rows that have a value, of those below end.
type seen struct {
	rows marks.Set
	end  int64
}

// anyColumn stands for what each row has that is left.
const anyColumn = ""

// remove takes rows out that were removed.
func (p *presence) remove(ranges []marks.Range) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, column := range p.columns {
		for _, r := range ranges {
			column.rows.Remove(r.First, r.End)
		}
	}
}
