package trajectory

import "math/rand/v2"

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

// draw adds to out the windows of count draws: fewer in an order that ends, or where each is drawn a few times only. The caller holds
// the lock of the index.
func (d *drawer) draw(x *index, count int, out []window) ([]window, error) {
	if d.law.Group > 0 {
		return d.drawGroups(x, count, out)
	}
	switch d.law.Order {
	case byPriority:
		return d.raffle(x, count, out)
	case inOrder:
		return d.follow(x, count, out), nil
	case shuffled:
		return d.deal(x, count, out)
	case oldestFirst, newestFirst:
		return d.line(x, count, out)
	case highestFirst, lowestFirst:
		return d.climb(x, count, out)
	case byEpisodes:
		return d.drawInside(x, count, out)
	}
	take := func(row int64, out []window) []window { return d.at(x, row, out) }
	from := d.law.low(x)
	if d.law.oldest > -1 {
		from = max(from, min(x.versions.from(d.law.oldest), x.visible))
	}
	if f := d.filter; f != nil {
		return d.try(out, count, f.from(from), int64(len(f.rows)), nil, func(n int64, out []window) []window { return take(f.rows[n], out) })
	}
	return d.try(out, count, from, x.visible, func() { d.warm(x) }, take)
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

// drawInside draws episodes, and of each one window.
func (d *drawer) drawInside(x *index, count int, out []window) ([]window, error) {
	if f := d.filter; f != nil {
		return d.try(out, count, 0, int64(len(f.episodes)), nil, func(n int64, out []window) []window {
			return d.inside(x, x.episodes[f.episodes[n]], out)
		})
	}
	return d.try(out, count, 0, int64(len(x.episodes)), nil, func(n int64, out []window) []window {
		return d.inside(x, x.episodes[n], out)
	})
}

// inside adds to out one of the windows of an episode, each as likely as the others.
func (d *drawer) inside(x *index, e *episode, out []window) []window {
	starts := d.law.starts(e)
	if starts == 0 {
		return out
	}
	if with := d.at(x, e.offset(d.random.Int64N(starts)*d.law.Stride), out); len(with) > len(out) {
		return with
	}
	// Not all of them are drawn, and so one of those that are.
	d.fits = d.fits[:0]
	row := e.runs[0].first
	for range starts {
		d.fits = d.at(x, row, d.fits)
		row = x.walk(row, d.law.Stride)
	}
	if len(d.fits) == 0 {
		return out
	}
	return append(out, d.fits[d.random.IntN(len(d.fits))])
}

// line draws the oldest windows that there are, or the newest, each once. It does not wait for one that may be drawn later.
func (d *drawer) line(x *index, count int, out []window) ([]window, error) {
	low, row, way := d.law.low(x), d.law.low(x), int64(1)
	if d.law.Order == newestFirst {
		row, way = x.visible-1, -1
	}
	for ; count > 0 && low <= row && row < x.visible; row += way {
		if d.spent.chunkIsOver(row) {
			if row &^= chunkRows - 1; way > 0 {
				row += chunkRows - 1
			}
			continue
		}
		steps, later := d.window(x, row)
		if steps > 0 {
			out = d.spend(append(out, window{row, steps}), 1)
			count--
		} else if !later && d.law.oldest < 0 {
			d.spent.bar(row)
		}
	}
	return d.some(out)
}

// offset returns where a step is.
func (e *episode) offset(step int64) int64 {
	for _, r := range e.runs {
		if step < r.step+r.count {
			return r.first + step - r.step
		}
	}
	return e.end()
}

// follow draws in the order in which steps came. It goes past none that may be drawn once more of its episode has come.
func (d *drawer) follow(x *index, count int, out []window) []window {
	p := &d.position
	for p.At = max(p.At, d.law.low(x)); count > 0 && p.At < x.visible; p.At++ {
		steps, later := d.window(x, p.At)
		if later {
			break
		}
		if steps > 0 {
			out = append(out, window{p.At, steps})
			count--
		}
	}
	return out
}

// deal draws what comes next in the order of a shuffle: fewer at the end of an epoch, after which another one begins.
func (d *drawer) deal(x *index, count int, out []window) ([]window, error) {
	p, before := &d.position, len(out)
	for range 2 { // an epoch may have ended just now
		if p.At == p.Rows {
			epoch := p.Epoch
			if p.Rows > 0 {
				epoch++
			}
			*p = Position{Epoch: epoch, Rows: x.visible}
			if p.Rows == 0 {
				break
			}
			d.shuffle = newShuffle(d.law.Seed, p.Epoch, p.Rows)
		}
		for p.At < p.Rows {
			// What does not fit is passed over also behind the last one, so that it is known whether an epoch has ended.
			with := d.at(x, d.shuffle.at(p.At), out)
			if len(with) > before+count {
				break
			}
			out = with
			p.At++
		}
		if len(out) > before {
			return out, nil
		}
	}
	return nil, errNothing
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
