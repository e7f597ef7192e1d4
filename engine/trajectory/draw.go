package trajectory

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
			p.Epoch, p.Rows, p.At = epoch, x.visible, 0
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

// drawGroups draws groups, and of each some episodes.
func (d *drawer) drawGroups(x *index, count int, out []window) ([]window, error) {
	g := &d.groups
	g.catchUp(x, d.law)
	take := func(n int64, out []window) []window { return d.group(x, n, out) }
	var err error
	if d.law.Order == uniformly {
		out, err = d.try(out, count, 0, int64(len(g.members)), nil, take)
	} else {
		out, err = d.groupsInLine(count, out, take)
	}
	if g.long != nil {
		err, g.long = g.long, nil
	}
	return out, err
}

// groupsInLine draws the groups that began first, or last, each once.
func (d *drawer) groupsInLine(count int, out []window, take func(n int64, out []window) []window) ([]window, error) {
	total := int64(len(d.groups.members))
	for i := int64(0); i < total && count > 0; i++ {
		n, before := i, len(out)
		if d.law.Order == newestFirst {
			n = total - 1 - i
		}
		if out = take(n, out); len(out) > before {
			d.spend(out, len(out)-before)
			count--
		}
	}
	return d.some(out)
}

// group adds to out as many episodes of a group as the law says, in a random order, if the group is complete.
func (d *drawer) group(x *index, n int64, out []window) []window {
	g, l := &d.groups, d.law
	if g.over[n] {
		return out
	}
	whole := d.complete(x, n)
	if int64(len(whole)) < l.Group || l.Varied && !g.vary(whole) {
		return out
	}
	for chosen := false; !chosen; chosen = !l.Varied || g.vary(whole[:l.Group]) {
		for i := range int(l.Group) { // the beginning of a random order
			k := i + d.random.IntN(len(whole)-i)
			whole[i], whole[k] = whole[k], whole[i]
		}
	}
	for _, e := range whole[:l.Group] {
		if e.Steps > l.Length {
			g.long = invalid("episode %q has %d steps: want a length of at least that, not %d", e.ID, e.Steps, l.Length)
		}
		out = append(out, window{e.runs[0].first, min(l.usable(e), l.Length)})
	}
	return out
}

// complete returns the episodes of a group that have ended and are drawn; none if one is open.
func (d *drawer) complete(x *index, n int64) []*episode {
	l, members := d.law, d.groups.members[n]
	whole := make([]*episode, 0, len(members))
	later := l.oldest >= 0 // another call may want older ones
	for _, number := range members {
		e := x.episodes[number]
		switch {
		case e.state == open:
			return nil
		case e.state != ended || l.usable(e) < 1:
		case e.end() > x.visible:
			later = true
		case d.takes(x, e):
			whole = append(whole, e)
		}
	}
	if l.Times > 0 && int64(len(whole)) < l.Group && !later {
		d.groups.over[n] = true // until it gets another episode
	}
	return whole
}

// takes says whether an episode that has ended is drawn.
func (d *drawer) takes(x *index, e *episode) bool {
	first := e.runs[0].first
	if takes, _ := d.filter.takes(first); !takes || first < d.law.low(x) || d.spent.isOver(first) {
		return false
	}
	if _, known := d.groups.sums[e.number]; d.law.Varied && !known {
		return false
	}
	return d.law.fresh(x, first, e.Steps)
}
