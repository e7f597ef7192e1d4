package trajectory

import (
	"math"
	"slices"
)

// groups is which episodes belong together.
type groups struct {
	seen    int                // episodes that were looked at
	numbers map[string]int     // of the groups, by name
	members [][]uint32         // the numbers of their episodes
	over    map[int64]bool     // groups of which all episodes were drawn often enough
	sums    map[uint32]float64 // of the rewards of episodes
	waiting []uint32           // episodes whose sums are not known yet
	long    error              // of an episode that was drawn and does not fit
}

// catchUp looks at the episodes that have begun since. Those without a group belong to none.
func (g *groups) catchUp(x *index, l *Law) {
	if g.numbers == nil {
		g.numbers, g.over, g.sums = map[string]int{}, map[int64]bool{}, map[uint32]float64{}
	}
	for ; g.seen < len(x.episodes); g.seen++ {
		e := x.episodes[g.seen]
		if e.Group == "" {
			continue
		}
		n, ok := g.numbers[e.Group]
		if !ok {
			n = len(g.members)
			g.numbers[e.Group], g.members = n, append(g.members, nil)
		}
		g.members[n] = append(g.members[n], e.number)
		delete(g.over, int64(n))
		if l.Varied {
			g.waiting = append(g.waiting, e.number)
		}
	}
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

// vary says whether the sums of episodes are not all the same.
func (g *groups) vary(episodes []*episode) bool {
	return slices.ContainsFunc(episodes, func(e *episode) bool {
		return math.Float64bits(g.sums[e.number]) != math.Float64bits(g.sums[episodes[0].number])
	})
}

// mostSummed is how many rows are summed at once.
const mostSummed = 1 << 16

// unsummed takes episodes off those that wait whose sums can be made, with all their steps: those that have ended.
func (g *groups) unsummed(x *index) (episodes []*episode, rows []int64) {
	rest := g.waiting[:0]
	for _, number := range g.waiting {
		e := x.episodes[number]
		switch {
		case e.state == open || e.end() > x.visible || len(rows) >= mostSummed:
			rest = append(rest, number)
		case e.state == ended:
			episodes, rows = append(episodes, e), append(rows, e.offsets(0, e.Steps)...)
		}
	}
	g.waiting = rest
	return episodes, rows
}
