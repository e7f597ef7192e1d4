package trajectory

import (
	"math/rand/v2"

	"github.com/persisting/persisting/engine/trajectory/priorities"
)

// drawer draws windows by a law.
type drawer struct {
	law      *Law
	ranks    *ranks
	source   *rand.PCG
	random   *rand.Rand
	position Position
	shuffle  shuffle
	groups   groups
	lottery  lottery
	podium   podium
	filter   *filter // nil for none
	spent    spent
	fits     []window // of an episode
	numbers  []int64  // that are tried next
	warmed   uint32   // what was read to have it near
}

// newDrawer makes what draws by a law, from its position on, of a store with so many rows.
func newDrawer(l *Law, r *ranks, rows int64) (*drawer, error) {
	source := rand.NewPCG(l.Seed, 0x7472616a)
	d := &drawer{law: l, ranks: r, source: source, random: rand.New(source), spent: spent{times: uint8(l.Times)}}
	if l.Position == nil {
		return d, nil
	}
	d.position = *l.Position
	if len(d.position.Random) > 0 {
		if err := source.UnmarshalBinary(d.position.Random); err != nil {
			return nil, invalid("position: random is %.40x, which no sampler has: %w", d.position.Random, err)
		}
	}
	if l.Order == shuffled && d.position.Rows > 0 {
		d.shuffle = newShuffle(l.Seed, d.position.Epoch, d.position.Rows)
	}
	if err := d.spent.parse(d.position.Spent, rows); err != nil {
		return nil, err
	}
	d.position.Spent = nil // until somebody asks
	return d, nil
}

// where returns how far it is.
func (d *drawer) where() (Position, error) {
	state, err := d.source.MarshalBinary()
	p := d.position
	p.Random, p.Spent = state, d.spent.text()
	return p, err
}

// window returns how many steps a window has that begins at a row: none where none is drawn there, and later says that one may be
// once more has come.
func (d *drawer) window(x *index, row int64) (steps int64, later bool) {
	if row < d.law.low(x) || !d.law.mine(row) || d.spent.isOver(row) {
		return 0, false
	}
	if takes, asked := d.filter.takes(row); !takes {
		return 0, !asked
	}
	return d.law.window(x, row)
}

// at adds to out the window that begins at a row, if one does.
func (d *drawer) at(x *index, offset int64, out []window) []window {
	if offset >= x.visible { // which a position may know that was given out before rows were lost
		return out
	}
	if steps, _ := d.window(x, offset); steps > 0 {
		return append(out, window{offset, steps})
	}
	return out
}

// spend notes that the last windows of out, so many of them, were drawn.
func (d *drawer) spend(out []window, count int) []window {
	d.spent.add(out[len(out)-count:])
	return out
}

// takeBack has the last draws be none.
func (d *drawer) takeBack() {
	if d.spent.takeBack() { // rows count again that were given up
		d.lottery.tree.Clear()
		d.podium.peaks.Clear()
		clear(d.groups.over)
	}
}

// some returns the draws, fewer than were asked for: none is an error, unless it only says that all were drawn often enough.
func (d *drawer) some(out []window) ([]window, error) {
	if len(out) == 0 && d.law.Times == 0 {
		return nil, errNothing
	}
	return out, nil
}

// leastTried is how many numbers are drawn at once at least.
const leastTried = 32

// try draws numbers from one on and below a bound until so many of them have added windows to out. Those that are looked at next are
// shown to near, which may be nil.
func (d *drawer) try(out []window, count int, from, bound int64, near func(), take func(n int64, out []window) []window) ([]window, error) {
	if from >= bound {
		return d.some(out)
	}
	for left := tries; count > 0; left-- {
		if left == 0 {
			return d.tryFew(out, count, from, bound, take)
		}
		d.numbers = d.numbers[:0]
		for range max(count, leastTried) {
			d.numbers = append(d.numbers, from+d.random.Int64N(bound-from))
		}
		if near != nil {
			near()
		}
		for _, n := range d.numbers {
			before := len(out)
			if out = take(n, out); len(out) == before {
				continue
			}
			d.spend(out, len(out)-before)
			if count--; count == 0 {
				break
			}
		}
	}
	return out, nil
}

// warm reads what is asked of the rows that are looked at next: in loops that do nothing else the processor waits for many at once,
// and not for one after the other. 256 draws of four million steps take 126 us with it and 270 us without (BenchmarkDraw).
func (d *drawer) warm(x *index) {
	for _, row := range d.numbers {
		d.warmed += x.at(row).next
	}
	for _, row := range d.numbers {
		d.warmed += uint32(x.episodes[x.at(row).episode].Steps)
	}
}

// tryFew is try where few numbers add windows: they are listed.
func (d *drawer) tryFew(out []window, count int, from, bound int64, take func(n int64, out []window) []window) ([]window, error) {
	var fits []int64
	for n := from; n < bound; n++ {
		if len(take(n, out)) > len(out) {
			fits = append(fits, n)
		}
	}
	for count > 0 && len(fits) > 0 {
		before, k := len(out), d.random.IntN(len(fits))
		if out = take(fits[k], out); len(out) > before {
			d.spend(out, len(out)-before)
			count--
			continue
		}
		fits[k] = fits[len(fits)-1] // it was drawn often enough
		fits = fits[:len(fits)-1]
	}
	return d.some(out)
}

// catchUp brings in rows that came, and priorities that were given, of which what scorer returns makes scores. A row that is not drawn
// has the score none.
func (d *drawer) catchUp(s *standing, x *index, to scores, none float32, scorer func() func(priority float32) float32) {
	d.ranks.mu.RLock()
	defer d.ranks.mu.RUnlock()
	given, score := &d.ranks.known, scorer()
	known := given.Since(s.seen, func(row int64) {
		if row < to.Len() && d.eligible(x, row) {
			to.Set(row, score(given.At(row)))
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
	priorities.Divide(int64(len(came)), func(from, end int64) {
		score := scorer()
		for k := from; k < end; k++ {
			if came[k] = none; d.eligible(x, first+k) {
				came[k] = score(given.At(first + k))
			}
		}
	})
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
