package trajectory

import (
	"fmt"
	"slices"
)

// Law is what a sampler draws: windows of steps of one episode, or whole episodes of a group.
type Law struct {
	// Order is "uniform", each window as likely as any other; "episodes", each episode, and in it each window; "prioritized", each as
	// likely as the priority of its first step says; "sequential", all as they came, and then those that come; "shuffle", all of
	// them once in an order that the seed gives, and then anew; "fifo" and "lifo", the oldest and the newest that there are; or
	// "highest" and "lowest", those of such a priority.
	Order string `json:"order"`
	// Seed begins what is random.
	Seed uint64 `json:"seed"`

	// Length is the number of steps of a window, of which one begins every Stride steps of an episode.
	Length int64 `json:"length"`
	Stride int64 `json:"stride"`
	// Pad has windows go beyond the end of an episode.
	Pad bool `json:"pad"`
	// BurnIn is how many steps before a window come with it, as far as the episode has them.
	BurnIn int64 `json:"burn_in"`
	// Edge has what a window lacks be its nearest step again; it is zeros without.
	Edge bool `json:"edge"`
	// Group draws that many episodes of a group, each a window of all its steps; 0 for none.
	Group int64 `json:"group"`
	// Varied draws no groups whose episodes have all the same sum of the column Reward.
	Varied bool `json:"varied"`

	// Where is an SQL filter of the steps at which windows begin; empty for all.
	Where string `json:"where"`
	// Newest is how many of the newest rows windows begin at; 0 for all.
	Newest int64 `json:"newest"`
	// Times is how often each window is drawn at most; 0 for no bound.
	Times int64 `json:"times"`
	// Limit is when there are draws at all.
	Limit Limit `json:"limit"`

	// Steps and Gamma are those of returns over the column Reward; 0 steps for none.
	Steps  int64   `json:"n_step"`
	Gamma  float64 `json:"gamma"`
	Reward string  `json:"reward"`

	// Alpha is the power of a priority, to which Epsilon is added, that makes it a weight; Beta that of how much what is drawn more
	// often counts less.
	Alpha   float64 `json:"alpha"`
	Beta    float64 `json:"beta"`
	Epsilon float64 `json:"epsilon"`

	// Columns are read of each step, and Next of the one behind it, or behind the n steps.
	Columns []string `json:"columns"`
	Next    []string `json:"next"`
	// Behind has the offsets of these written as well.
	Behind bool `json:"behind"`

	// Part of Parts is the share that is drawn of an order that ends: of each row it is known whose it is, so that samplers which
	// see other numbers of rows, one in each process of a loader, draw all of them once. 0 parts are one.
	Part  int64 `json:"part"`
	Parts int64 `json:"parts"`

	// Position is where to go on, as [Sampler.Position] gave it; nil for the beginning.
	Position *Position `json:"position"`

	oldest int32 // version of a step that is drawn; all are for -1
}

const (
	uniformly    = "uniform"
	byEpisodes   = "episodes"
	byPriority   = "prioritized"
	inOrder      = "sequential"
	shuffled     = "shuffle"
	oldestFirst  = "fifo"
	newestFirst  = "lifo"
	highestFirst = "highest"
	lowestFirst  = "lowest"

	mostSteps = 1 << 20 // of a sample
)

// errNothing is returned where no window can be drawn.
var errNothing = fmt.Errorf("%w: there is nothing to be drawn: no step, no episode that is long enough, or none that the sampler takes or that is of so new a version", ErrNotFound)

// tries is how often, for each draw, something that does not fit is drawn before all that fits is looked for.
const tries = 256

// check refuses laws that make no sense.
func (l *Law) check() error {
	orders := []string{uniformly, byEpisodes, byPriority, inOrder, shuffled, oldestFirst, newestFirst, highestFirst, lowestFirst}
	ofGroups := []string{uniformly, oldestFirst, newestFirst}
	switch {
	case !slices.Contains(orders, l.Order):
		return invalid("order is %q, want one of %q", l.Order, orders)
	case l.Length < 1 || l.Length > mostSteps:
		return invalid("length is %d, want 1 to %d steps", l.Length, mostSteps)
	case l.Stride < 1:
		return invalid("stride is %d, want at least 1", l.Stride)
	case l.Group < 0 || l.Group > mostSteps:
		return invalid("group is %d, want 1 to %d episodes", l.Group, mostSteps)
	case l.Group > 0 && !slices.Contains(ofGroups, l.Order):
		return invalid("order is %q, and groups are drawn in the orders %q", l.Order, ofGroups)
	case l.Varied && l.Group < 2:
		return invalid("%d episodes of a group always have the same sum of rewards: want at least 2", l.Group)
	case l.BurnIn < 0 || l.BurnIn > mostSteps-l.Length:
		return invalid("burn_in is %d, want 0 to %d steps", l.BurnIn, mostSteps-l.Length)
	case l.BurnIn > 0 && (l.Group > 0 || l.Steps > 0):
		return invalid("burn_in is of windows, and not of groups or of returns over n steps")
	case l.Newest < 0 || l.Times < 0 || l.Times > mostTimes:
		return invalid("newest is %d and times %d, want at least 0, and of times at most %d", l.Newest, l.Times, mostTimes)
	case l.Times > 0 && (l.Order == inOrder || l.Order == shuffled):
		return invalid("times is %d, and the order %q draws each once anyway", l.Times, l.Order)
	case l.Group*l.Length > mostSteps:
		return invalid("%d episodes of %d steps are drawn at once, want at most %d", l.Group, l.Length, mostSteps)
	case l.Order == byPriority && !(l.Alpha >= 0 && l.Alpha <= 10 && l.Beta >= 0 && l.Beta <= 10 && l.Epsilon >= 0 && l.Epsilon <= 1):
		return invalid("alpha is %g, beta %g and epsilon %g, want 0 to 10, 0 to 10 and 0 to 1", l.Alpha, l.Beta, l.Epsilon)
	case l.Steps < 0 || l.Steps > mostSteps:
		return invalid("n is %d, want 1 to %d steps", l.Steps, mostSteps)
	case l.Steps > 0 && (l.Length > 1 || l.Group > 0):
		return invalid("returns over n steps are of single steps, and not of windows or groups")
	case l.Steps > 0 && !(l.Gamma >= 0 && l.Gamma <= 1):
		return invalid("gamma is %g, want 0 to 1", l.Gamma)
	case l.Parts < 0 || l.Part < 0 || l.Part >= max(1, l.Parts):
		return invalid("part is %d of %d, want 0 to one less than there are", l.Part, l.Parts)
	case l.Parts > 1 && l.Order != inOrder && l.Order != shuffled:
		return invalid("order is %q, and only %q and %q have parts", l.Order, inOrder, shuffled)
	}
	if err := l.Limit.check(); err != nil {
		return err
	}
	if p := l.Position; p != nil && (p.Draws < 0 || p.Began < 0 || p.At < 0 || p.Rows < 0 || p.At > p.Rows && l.Order == shuffled) {
		return invalid("position is %+v, which no sampler has", *p)
	}
	return nil
}

// mine says whether a window that begins at a row belongs to the part that is drawn.
func (l *Law) mine(offset int64) bool {
	return l.Parts < 2 || scramble(uint64(offset))%uint64(l.Parts) == uint64(l.Part)
}

// wantsNext says whether a step needs to know what came behind it.
func (l *Law) wantsNext() bool { return len(l.Next) > 0 || l.Steps > 0 || l.Behind }

// span is how many steps a draw of one window has.
func (l *Law) span() int64 { return l.BurnIn + l.Length }

// low is the row before which no window begins.
func (l *Law) low(x *index) int64 {
	if l.Newest == 0 {
		return 0
	}
	return max(0, x.visible-l.Newest)
}

// usable is how many steps of an episode, from the first, can be drawn: of its last one it may not be known what it led to.
func (l *Law) usable(e *episode) int64 {
	if !l.wantsNext() || e.last || e.state == ended && e.Terminated {
		return e.Steps
	}
	return e.Steps - 1
}

// starts is how many windows an episode has.
func (l *Law) starts(e *episode) int64 {
	if e.hidden() {
		return 0
	}
	// What would be cut short at the end of an episode is only known to be short once it has ended.
	need := int64(1)
	switch {
	case e.state == open:
		need = max(l.Length, l.Steps)
	case !l.Pad:
		need = l.Length
	}
	if room := l.usable(e) - need; room >= 0 {
		return room/l.Stride + 1
	}
	return 0
}

// window returns how many steps a window has that begins at a row: none where none begins there, and later says that one may begin
// there once more has come. The caller holds the lock of the index.
func (l *Law) window(x *index, offset int64) (steps int64, later bool) {
	p := x.at(offset)
	if p.isLast() {
		return 0, false
	}
	e, step := x.episodes[p.episode], int64(p.step)
	if e.hidden() || step%l.Stride != 0 {
		return 0, false
	}
	if step/l.Stride >= l.starts(e) {
		return 0, e.state == open
	}
	if x.visible < x.rows && x.walk(offset, max(l.Length, l.Steps)) >= x.visible {
		return 0, true // some of it is not acknowledged yet
	}
	if steps = min(l.usable(e)-step, l.Length); !l.fresh(x, offset, steps) {
		return 0, false
	}
	return steps, false
}

// fresh says whether steps from a row on are of versions that are drawn.
func (l *Law) fresh(x *index, offset, steps int64) bool {
	for ; l.oldest > -1 && steps > 0; steps-- {
		if x.versions.at(offset) < l.oldest {
			return false
		}
		offset = x.walk(offset, 1)
	}
	return true
}

// walk returns the row of the episode so many steps behind one, or its last one.
func (x *index) walk(offset, steps int64) int64 {
	for ; steps > 0; steps-- {
		next := x.at(offset).next
		if next == 0 || next == nothing {
			break
		}
		offset += int64(next)
	}
	return offset
}
