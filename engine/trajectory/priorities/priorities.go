package priorities

import (
	"encoding/binary"
	"fmt"
	"math"
)

// recent is how many changes are known one by one.
const recent = 1 << 16

// Priorities are those that rows were given. The zero value has none.
type Priorities struct {
	given   []float32 // by row; NaN for none
	most    float32
	changed []int64 // the rows of the last changes, in a ring
	changes int64   // how many there were
}

var none = float32(math.NaN())

// At is the priority of a row.
func (p *Priorities) At(row int64) float32 {
	if row < int64(len(p.given)) && !math.IsNaN(float64(p.given[row])) {
		return p.given[row]
	}
	return p.Most()
}

// Most is what a row has that was given none: the highest of all, 1 while there is none above 0.
func (p *Priorities) Most() float32 {
	if p.most > 0 {
		return p.most
	}
	return 1
}

// Set gives a row a priority.
func (p *Priorities) Set(row int64, priority float32) {
	for int64(len(p.given)) <= row {
		p.given = append(p.given, none)
	}
	p.given[row] = priority
	p.most = max(p.most, priority)
	if p.changed == nil {
		p.changed = make([]int64, recent)
	}
	p.changed[p.changes%recent] = row
	p.changes++
}

// Changes is how many there were.
func (p *Priorities) Changes() int64 { return p.changes }

// Since calls do with the rows of all changes but the first so many; false where these are not all known any more.
func (p *Priorities) Since(seen int64, do func(row int64)) bool {
	if p.changes-seen > recent {
		return false
	}
	for ; seen < p.changes; seen++ {
		do(p.changed[seen%recent])
	}
	return true
}

// Cut forgets the priorities of rows from one on, and says whether there were any.
func (p *Priorities) Cut(rows int64) bool {
	if int64(len(p.given)) <= rows {
		return false
	}
	p.given, p.most = p.given[:rows], 0
	for _, priority := range p.given {
		if priority > p.most { // which NaN is not
			p.most = priority
		}
	}
	return true
}

// Record is that of a change.
func Record(rows []int64, priorities []float32) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+12*len(rows)), uint32(len(rows)))
	for _, row := range rows {
		b = binary.LittleEndian.AppendUint64(b, uint64(row))
	}
	for _, priority := range priorities {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(priority))
	}
	return b
}

// Replay implements journal.State.
func (p *Priorities) Replay(record []byte) error {
	if len(record) < 4 || len(record) != 4+12*int(binary.LittleEndian.Uint32(record)) {
		return fmt.Errorf("a record of %d bytes is none of priorities", len(record))
	}
	n := int(binary.LittleEndian.Uint32(record))
	rows, priorities := record[4:4+8*n], record[4+8*n:]
	for i := range n {
		row := int64(binary.LittleEndian.Uint64(rows[8*i:]))
		if row < 0 || row > math.MaxUint32<<8 {
			return fmt.Errorf("row %d is none that a store can have", row)
		}
		p.Set(row, math.Float32frombits(binary.LittleEndian.Uint32(priorities[4*i:])))
	}
	return nil
}

// Snapshot is all of it.
func (p *Priorities) Snapshot() []byte {
	b := make([]byte, 0, 4*len(p.given))
	for _, priority := range p.given {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(priority))
	}
	return b
}

// Restore implements journal.State.
func (p *Priorities) Restore(snapshot []byte) error {
	if len(snapshot)%4 != 0 {
		return fmt.Errorf("a snapshot of %d bytes is none of priorities", len(snapshot))
	}
	*p = Priorities{}
	for ; len(snapshot) > 0; snapshot = snapshot[4:] {
		priority := math.Float32frombits(binary.LittleEndian.Uint32(snapshot))
		if p.given = append(p.given, priority); priority > p.most {
			p.most = priority
		}
	}
	return nil
}
