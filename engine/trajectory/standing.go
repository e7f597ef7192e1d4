package trajectory

// standing is how far numbers of rows that are made of their priorities have come.
type standing struct {
	seen int64   // changes of priorities
	most float32 // the priority of rows that were given none
	low  int64   // rows before are drawn no more
	of   *filter // whose rows they are
}

// scores are such numbers, by row.
type scores interface {
	Len() int64
	Set(row int64, score float32)
	Add(scores ...float32)
	Clear()
}

// catchUp brings in rows that came, and priorities that were given. A row that is not drawn has the score none.
func (s *standing) catchUp(d *drawer, x *index, to scores, none float32, score func(row int64) float32) {
	d.ranks.mu.RLock()
	defer d.ranks.mu.RUnlock()
	given := &d.ranks.known
	known := given.Since(s.seen, func(row int64) {
		if row < to.Len() && d.eligible(x, row) {
			to.Set(row, score(row))
		}
	})
	if most := given.Most(); !known || most != s.most || s.of != d.filter {
		to.Clear() // all that were given none have another one, or others are drawn
		s.most, s.of, s.low = most, d.filter, 0
	}
	s.seen = given.Changes()
	for low := d.law.low(x); s.low < min(low, to.Len()); s.low++ {
		to.Set(s.low, none)
	}
	first := to.Len()
	if first == x.visible {
		return
	}
	came := make([]float32, x.visible-first)
	for k := range came {
		if came[k] = none; d.eligible(x, first+int64(k)) {
			came[k] = score(first + int64(k))
		}
	}
	to.Add(came...)
}

// eligible says whether a window can ever begin at a row.
func (d *drawer) eligible(x *index, row int64) bool {
	if row < d.law.low(x) || d.spent.isOver(row) {
		return false
	}
	p := x.at(row)
	takes, _ := d.filter.takes(row)
	return takes && !p.isLast() && int64(p.step)%d.law.Stride == 0
}
