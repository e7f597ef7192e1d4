package trajectory

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/trajectory/mirror"
)

// Sampler draws by a law. Its methods may be called from any goroutine; draws come one after the other.
type Sampler struct {
	store   *Store
	frame   *frame
	law     Law
	reads   []int // the fields of the mirror that are read of each step
	nexts   []int // and of the one behind it
	version int
	pays    int  // the field of rewards
	single  bool // rewards are float32

	mu     sync.Mutex // a draw at a time; guards what follows
	drawer *drawer
	drawn  drawn
}

// drawn is the steps of a draw; its memory is used again by the next one.
type drawn struct {
	windows []window
	rows    []int64 // of all steps, of what is behind each, and of rewards
	chains  []int   // how many rewards each step has
	finals  []int   // which steps are followed by a last observation
}

// Sampler makes a sampler. The first one of a store makes the mirror that samplers read from.
func (s *Store) Sampler(l Law) (*Sampler, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	m, err := s.startMirror()
	if err != nil {
		return nil, err
	}
	s.writing.Lock()
	p := &Sampler{store: s, frame: s.frame, law: l}
	s.writing.Unlock()
	if p.drawer, err = newDrawer(&p.law, &s.ranks, s.countRows()); err != nil {
		return nil, err
	}
	if l.Where != "" {
		if p.drawer.filter, err = s.ask(l.Where, nil); err != nil {
			return nil, err
		}
	}
	if l.Position == nil {
		p.drawer.position.Began = s.countSteps()
	}
	if p.reads, err = fieldsOf(m.Layout(), l.Columns); err != nil {
		return nil, err
	}
	if p.nexts, err = fieldsOf(m.Layout(), l.Next); err != nil {
		return nil, err
	}
	p.version, _ = m.Layout().Field(VersionColumn)
	if l.Steps > 0 || l.Varied {
		return p, p.findRewards(m.Layout())
	}
	return p, nil
}

// Refresh asks again which steps the condition of the law takes: those that came since it was asked are not drawn before.
func (p *Sampler) Refresh() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.law.Where == "" {
		return nil
	}
	f, err := p.store.ask(p.law.Where, p.drawer.filter)
	if err == nil {
		p.drawer.filter = f
	}
	return err
}

// fieldsOf returns the fields of columns.
func fieldsOf(l *mirror.Layout, names []string) ([]int, error) {
	out := make([]int, len(names))
	for i, name := range names {
		f, ok := l.Field(name)
		if !ok {
			return nil, invalid("column %q cannot be sampled, but those whose values have one size: %q; others are taken by the offsets of a sample", name, l.Names())
		}
		out[i] = f
	}
	return out, nil
}

func (p *Sampler) findRewards(l *mirror.Layout) error {
	fields, err := fieldsOf(l, []string{p.law.Reward})
	if err != nil {
		return err
	}
	kind := p.frame.given.Field(p.frame.given.FieldIndices(p.law.Reward)[0]).Type
	if kind.ID() != arrow.FLOAT32 && kind.ID() != arrow.FLOAT64 {
		return invalid("column %q is %s: rewards are float32 or float64", p.law.Reward, kind)
	}
	p.pays, p.single = fields[0], kind.ID() == arrow.FLOAT32
	return nil
}

// Position returns how far a sampler is, for [Law.Position] of another.
func (p *Sampler) Position() (Position, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drawer.where()
}

// known is the first of the parts that are no columns.
func (p *Sampler) known() int { return len(p.reads) + len(p.nexts) }

// parts is how many parts a sample has.
func (p *Sampler) parts() int {
	n := p.known() + 7
	if p.law.Behind {
		n++
	}
	if p.law.Order == byPriority {
		n++
	}
	if p.law.Steps > 0 {
		n += 2
	}
	return n
}

// checkDraws refuses samples that are too large.
func (p *Sampler) checkDraws(draws int64) error {
	if most := mostSteps / (p.law.span() * max(1, p.law.Group)); draws < 1 || draws > most {
		return invalid("draws is %d, want 1 to %d", draws, most)
	}
	return nil
}

// Sample makes draws, of steps whose version is not older than the oldest, and writes the parts of a sample to memory outside of Go, of which each has room for all of them. The parts
// are the columns, those of what is behind, version (int32), offset (int64), episode and step (uint32), whether the episode has
// terminated and was truncated there, whether there is such a step at all (a byte each); with Behind the offsets of what is behind (int64); of a prioritized sampler how much each draw counts (float32); with returns those and the discount of what
// is behind (float64). It returns how many draws were made: fewer at the end of an order.
func (p *Sampler) Sample(draws, oldest int64, into []int64) (n int, err error) {
	if err := p.checkDraws(draws); err != nil {
		return 0, err
	}
	if want := p.parts(); len(into) != want {
		return 0, invalid("there are %d addresses, want %d", len(into), want)
	}
	if oldest < -1 || oldest > math.MaxInt32 {
		return 0, invalid("min_version is %d, want -1 to %d", oldest, math.MaxInt32)
	}
	if slices.Contains(into, 0) {
		return 0, invalid("an address is NULL")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func(begun time.Time) { p.store.sampled(begun, &p.law, p.drawer.position.At, n, err) }(time.Now())
	if p.law.oldest = int32(oldest); oldest > -1 {
		if err := p.store.startVersions(); err != nil {
			return 0, err
		}
	}
	if err := p.limited(draws); err != nil {
		return 0, err
	}
	if err := p.sumRewards(); err != nil {
		return 0, err
	}
	position, order := p.drawer.position, p.drawer.shuffle
	drawn, err := p.sample(int(draws), into)
	if err != nil { // it goes on as if nothing had been drawn
		p.drawer.position, p.drawer.shuffle = position, order
		p.drawer.takeBack()
		return 0, err
	}
	p.drawer.spent.keep()
	p.drawer.position.Draws += int64(drawn)
	if p.law.Limit.Ratio > 0 {
		p.store.changes.ring()
	}
	return drawn, nil
}

func (p *Sampler) sample(count int, into []int64) (int, error) {
	k, err := p.draw(count, into[p.known()+1:])
	if err != nil || k == 0 {
		return 0, err
	}
	v, err := p.view(p.drawn.rows)
	if err != nil {
		return 0, err
	}
	defer v.Close()
	v.Gather(0, k, append(targets(p.reads, into), mirror.Target{Field: p.version, Into: uint64(into[p.known()])}))
	if p.law.wantsNext() {
		if err := p.checkFinals(v, k); err != nil {
			return 0, err
		}
		v.Gather(k, 2*k, targets(p.nexts, into[len(p.reads):]))
	}
	rest := into[p.known()+7:]
	if p.law.Behind {
		copy(at[int64](rest[0], k), p.drawn.rows[k:2*k])
		rest = rest[1:]
	}
	if p.law.Order == byPriority {
		p.drawer.lottery.importance(&p.law, at[float32](rest[0], len(p.drawn.windows)))
		rest = rest[1:]
	}
	if p.law.Steps > 0 {
		p.pay(v, k, at[float64](rest[0], k), at[float64](rest[1], k), at[bool](into[p.known()+4], k))
	}
	return len(p.drawn.windows) / int(max(1, p.law.Group)), nil
}

// targets says where fields go.
func targets(fields []int, into []int64) []mirror.Target {
	out := make([]mirror.Target, len(fields), len(fields)+1)
	for i, f := range fields {
		out[i] = mirror.Target{Field: f, Into: uint64(into[i])}
	}
	return out
}

// view returns rows.
func (p *Sampler) view(rows []int64) (*mirror.View, error) {
	for {
		m := p.store.mirror.Load()
		if m == nil {
			return nil, engine.ErrClosed
		}
		v, err := m.View(rows, p.store.readCold(p.frame))
		if errors.Is(err, engine.ErrClosed) && p.store.mirror.Load() != m && !p.store.closed.Load() {
			continue // it was given up just now, and another one is there
		}
		if err == nil {
			p.store.metrics.RowsRead(v.Read())
		}
		return v, err
	}
}

// at is memory outside of Go as values.
func at[T any](address int64, count int) []T {
	return unsafe.Slice((*T)(*(*unsafe.Pointer)(unsafe.Pointer(&address))), count)
}

// known is the parts of a sample that the index knows.
type known struct {
	offsets               []int64
	episodes, steps       []uint32
	terminated, truncated []bool
	there                 []bool
}

// draw draws windows and writes what the index knows of their steps; it returns how many of these there are.
func (p *Sampler) draw(count int, into []int64) (int, error) {
	s, x, d := p.store, p.store.index, &p.drawn
	s.mu.RLock()
	defer s.mu.RUnlock()
	var err error
	if d.windows, err = p.drawer.draw(x, count, d.windows[:0]); err != nil {
		return 0, err
	}
	k := len(d.windows) * int(p.law.span())
	out := known{at[int64](into[0], k), at[uint32](into[1], k), at[uint32](into[2], k), at[bool](into[3], k), at[bool](into[4], k), at[bool](into[5], k)}
	behind := 0 // rows of what is behind the steps
	if p.law.wantsNext() {
		behind = k
	}
	d.rows, d.chains, d.finals = slices.Grow(d.rows[:0], k+behind)[:k+behind], d.chains[:0], d.finals[:0]
	for i, w := range d.windows {
		p.lay(x, w, i*int(p.law.span()), k, &out)
	}
	return k, nil
}

// lay notes the rows of a window, the first of which is the i-th of k, with those before it.
func (p *Sampler) lay(x *index, w window, i, k int, out *known) {
	l, row, before := &p.law, w.first, int64(0)
	if l.BurnIn > 0 {
		place := x.at(row)
		before = min(l.BurnIn, int64(place.step))
		row = x.episodes[place.episode].offset(int64(place.step) - before)
	}
	from := i + int(l.BurnIn-before)
	for at := i; at < from; at++ {
		p.pad(at, k, row, out)
	}
	last := row
	for at := from; at < from+int(before+w.steps); at++ {
		p.take(x, row, at, k, out)
		last, row = row, x.walk(row, 1)
	}
	for at := from + int(before+w.steps); at < i+int(l.span()); at++ {
		p.pad(at, k, last, out)
	}
	if l.Edge && l.wantsNext() {
		p.repeatNext(i, from, from+int(before+w.steps), k)
	}
}

// take notes that the i-th of k steps is at a row.
func (p *Sampler) take(x *index, offset int64, i, k int, out *known) {
	d := &p.drawn
	at := x.at(offset)
	e, step := x.episodes[at.episode], int64(at.step)
	d.rows[i] = offset
	out.offsets[i], out.episodes[i], out.steps[i], out.there[i] = offset, at.episode, at.step, true
	last := offset
	if p.law.Steps > 0 {
		n := min(p.law.Steps, p.law.usable(e)-step)
		d.rows = append(d.rows, last)
		for range n - 1 {
			last = x.walk(last, 1)
			d.rows = append(d.rows, last)
		}
		d.chains, step = append(d.chains, int(n)), step+n-1
	}
	ends := e.state == ended && step == e.Steps-1
	out.terminated[i], out.truncated[i] = ends && e.Terminated, ends && e.Truncated
	if !p.law.wantsNext() {
		return
	}
	next := x.walk(last, 1)
	switch {
	case next == last: // terminated, and nothing is known of where
		d.rows[k+i] = mirror.Zero
		return
	case x.at(next).isLast() && !out.terminated[i]:
		d.finals = append(d.finals, i)
	}
	d.rows[k+i] = next
}

// pad notes that the i-th of k steps is none; edge is the row of the nearest one that is there.
func (p *Sampler) pad(i, k int, edge int64, out *known) {
	if p.drawn.rows[i] = mirror.Zero; p.law.Edge {
		p.drawn.rows[i] = edge
	}
	if p.law.wantsNext() {
		p.drawn.rows[k+i] = mirror.Zero
	}
	out.offsets[i], out.episodes[i], out.steps[i] = mirror.Zero, 0, 0
	out.terminated[i], out.truncated[i], out.there[i] = false, false, false
}

// repeatNext has what is behind steps of a window that are none, those before one place and from another on, be what is behind the
// nearest of those that are.
func (p *Sampler) repeatNext(i, from, to, k int) {
	behind := p.drawn.rows[k : 2*k]
	for at := i; at < from; at++ {
		behind[at] = behind[from]
	}
	for at := to; at < i+int(p.law.span()); at++ {
		behind[at] = behind[to-1]
	}
}

// checkFinals refuses steps whose episode was cut off with a last observation that lacks what is asked for: zeros would be wrong.
func (p *Sampler) checkFinals(v *mirror.View, k int) error {
	for _, i := range p.drawn.finals {
		for n, field := range p.nexts {
			if v.Null(k+i, field) {
				return conflict("the last observation at offset %d has no %q, which the step before it leads to; ask for what it has", p.drawn.rows[k+i], p.law.Next[n])
			}
		}
	}
	return nil
}

// pay writes the returns over n steps, and how much what is behind them counts.
func (p *Sampler) pay(v *mirror.View, k int, returns, discounts []float64, terminated []bool) {
	rewards := p.rewards(v, 2*k, len(p.drawn.rows))
	for i, n := range p.drawn.chains {
		sum, weight := 0.0, 1.0
		for _, reward := range rewards[:n] {
			sum += weight * reward
			weight *= p.law.Gamma
		}
		rewards = rewards[n:]
		if terminated[i] {
			weight = 0
		}
		returns[i], discounts[i] = sum, weight
	}
}

// rewards are those of rows of a view, from one to another.
func (p *Sampler) rewards(v *mirror.View, from, to int) []float64 {
	width, out := 8, make([]float64, to-from)
	if p.single {
		width = 4
	}
	found := memory.Allocator.Allocate(len(out) * width)
	defer memory.Allocator.Free(found)
	address := int64(uintptr(unsafe.Pointer(unsafe.SliceData(found))))
	v.Gather(from, to, targets([]int{p.pays}, []int64{address}))
	if !p.single {
		copy(out, at[float64](address, len(out)))
		return out
	}
	for i, reward := range at[float32](address, len(out)) {
		out[i] = float64(reward)
	}
	return out
}

// sumRewards sums those of the episodes of groups that have ended since.
func (p *Sampler) sumRewards() error {
	g := &p.drawer.groups
	for p.law.Varied {
		p.store.mu.RLock()
		g.catchUp(p.store.index, &p.law)
		episodes, rows := g.unsummed(p.store.index)
		p.store.mu.RUnlock()
		if len(rows) == 0 {
			break
		}
		v, err := p.view(rows)
		if err != nil {
			for _, e := range episodes { // another time
				g.waiting = append(g.waiting, e.number)
			}
			return err
		}
		rewards := p.rewards(v, 0, len(rows))
		v.Close()
		for _, e := range episodes {
			for _, reward := range rewards[:e.Steps] {
				g.sums[e.number] += reward
			}
			rewards = rewards[e.Steps:]
		}
	}
	return nil
}

// limited returns an error where so many draws are too many for now. The caller holds p.mu.
func (p *Sampler) limited(count int64) error {
	l := p.law.Limit
	if l == (Limit{}) {
		return nil
	}
	if l.Ratio > 0 && float64(count) > l.Slack {
		return invalid("draws is %d, want at most the slack of the limit, %g", count, l.Slack)
	}
	steps := p.store.countSteps()
	if at := &p.drawer.position; !l.draws(at, steps, count) {
		return fmt.Errorf("%w: %d draws were made, and %d more are too many for %d steps", ErrTooEarly, at.Draws, count, steps)
	}
	return nil
}

// Wait returns when so many draws can be made, as far as the limit goes, or with [ErrTooEarly] after a time.
func (p *Sampler) Wait(draws int64, most time.Duration) error {
	return p.store.changes.wait(most, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.limited(draws)
	})
}

// WaitForRoom returns when so many steps should come, as far as the limit goes, or with [ErrTooEarly] after a time.
func (p *Sampler) WaitForRoom(steps int64, most time.Duration) error {
	if steps < 1 {
		return invalid("steps is %d, want at least 1", steps)
	}
	return p.store.changes.wait(most, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		l, have, at := p.law.Limit, p.store.countSteps(), &p.drawer.position
		if l.takes(at, have, steps) {
			return nil
		}
		return fmt.Errorf("%w: there are %d steps, and %d more are too many for %d draws", ErrTooEarly, have, steps, at.Draws)
	})
}
