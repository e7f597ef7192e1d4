package trajectory

import "math/rand/v2"

// groups is which episodes belong together.
type groups struct {
	seen    int            // episodes that were looked at
	numbers map[string]int // of the groups, by name
	members [][]uint32     // the numbers of their episodes
	long    error          // of an episode that was drawn and does not fit
}

// catchUp looks at the episodes that have begun since. Those without a group belong to none.
func (g *groups) catchUp(x *index) {
	if g.numbers == nil {
		g.numbers = map[string]int{}
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
	}
}

// draw adds to out as many episodes of a group as the law says, in a random order, if the group is complete.
func (g *groups) draw(x *index, l *Law, random *rand.Rand, n int64, out []window) []window {
	whole := g.complete(x, l, g.members[n])
	if int64(len(whole)) < l.Group {
		return out
	}
	for i := range int(l.Group) { // the beginning of a random order
		k := i + random.IntN(len(whole)-i)
		whole[i], whole[k] = whole[k], whole[i]
		e := whole[i]
		if e.Steps > l.Length {
			g.long = invalid("episode %q has %d steps: want a length of at least that, not %d", e.ID, e.Steps, l.Length)
		}
		out = append(out, window{e.runs[0].first, min(l.usable(e), l.Length)})
	}
	return out
}

// complete returns the episodes of a group that have ended; none if one is open.
func (g *groups) complete(x *index, l *Law, members []uint32) []*episode {
	whole := make([]*episode, 0, len(members))
	for _, n := range members {
		e := x.episodes[n]
		if e.state == open {
			return nil
		}
		if e.state == ended && l.usable(e) > 0 && e.end() <= x.visible && l.fresh(x, e.runs[0].first, e.Steps) {
			whole = append(whole, e)
		}
	}
	return whole
}
