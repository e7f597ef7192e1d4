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
