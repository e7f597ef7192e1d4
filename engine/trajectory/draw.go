package trajectory

import "math/rand/v2"

// drawer draws windows by a law.
type drawer struct {
	law      *Law
	source   *rand.PCG
	random   *rand.Rand
	position Position
	shuffle  shuffle
	groups   groups
	lottery  lottery
	numbers  []int64 // that are tried next
	warmed   uint32  // what was read to have it near
}

func newDrawer(l *Law, r *ranks) (*drawer, error) {
	source := rand.NewPCG(l.Seed, 0x7472616a)
	d := &drawer{law: l, source: source, random: rand.New(source), lottery: lottery{ranks: r}}
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
	return d, nil
}

// where returns how far it is.
func (d *drawer) where() (Position, error) {
	state, err := d.source.MarshalBinary()
	p := d.position
	p.Random = state
	return p, err
}

// draw adds to out the windows of count draws: fewer in an order that ends. The caller holds the lock of the index.
func (d *drawer) draw(x *index, count int, out []window) ([]window, error) {
	switch {
	case d.law.Group > 0:
		d.groups.catchUp(x)
		out, err := d.try(out, count, 0, int64(len(d.groups.members)), nil, func(n int64, out []window) []window {
			return d.groups.draw(x, d.law, d.random, n, out)
		})
		if d.groups.long != nil {
			err, d.groups.long = d.groups.long, nil
		}
		return out, err
	case d.law.Order == byPriority:
		return d.lottery.raffle(x, d.law, d.random, count, out)
	case d.law.Order == inOrder:
		return d.follow(x, count, out), nil
	case d.law.Order == shuffled:
		return d.deal(x, count, out)
	case d.law.Order == byEpisodes:
		return d.try(out, count, 0, int64(len(x.episodes)), nil, func(n int64, out []window) []window {
			e := x.episodes[n]
			starts := d.law.starts(e)
			if starts == 0 {
				return out
			}
			return d.at(x, e.offset(d.random.Int64N(starts)*d.law.Stride), out)
		})
	}
	from := int64(0)
	if d.law.oldest > -1 {
		from = min(x.versions.from(d.law.oldest), x.visible)
	}
	return d.try(out, count, from, x.visible, func() { d.warm(x) }, func(offset int64, out []window) []window { return d.at(x, offset, out) })
}

// at adds to out the window that begins at a row, if one does.
func (d *drawer) at(x *index, offset int64, out []window) []window {
	if offset >= x.visible { // which a position may know that was given out before rows were lost
		return out
	}
	if steps, _ := d.law.window(x, offset); steps > 0 {
		return append(out, window{offset, steps})
	}
	return out
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
	for p := &d.position; count > 0 && p.At < x.visible; p.At++ {
		if !d.law.mine(p.At) {
			continue
		}
		steps, later := d.law.window(x, p.At)
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
			with, offset := out, d.shuffle.at(p.At)
			if d.law.mine(offset) {
				with = d.at(x, offset, out)
			}
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
		return nil, errNothing
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
		c, i := x.at(row)
		d.warmed += c.step[i] + c.next[i]
		if c.last[i] {
			d.warmed++
		}
	}
	for _, row := range d.numbers {
		c, i := x.at(row)
		d.warmed += uint32(x.episodes[c.episode[i]].Steps)
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
	if len(fits) == 0 {
		return nil, errNothing
	}
	for count > 0 {
		before := len(out)
		if out = take(fits[d.random.IntN(len(fits))], out); len(out) > before {
			count--
		}
	}
	return out, nil
}
