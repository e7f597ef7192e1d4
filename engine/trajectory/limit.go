package trajectory

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine"
)

// Limit says when a sampler draws, by how many steps have come, and when no more should come. Without one it always does.
type Limit struct {
	// Least is how many steps there are before the first draw.
	Least int64 `json:"least"`
	// Ratio is how many draws are made for each step that comes, once there are Least, or as many as the store had at the first draw
	// if that is more; 0 for any number.
	Ratio float64 `json:"ratio"`
	// Slack is by how many draws the two may be apart from that.
	Slack float64 `json:"slack"`
}

func (l Limit) check() error {
	switch {
	case l.Least < 0 || !(l.Ratio >= 0 && l.Ratio <= math.MaxInt32) || !(l.Slack >= 0 && l.Slack <= math.MaxInt64/2):
		return invalid("limit: least is %d, ratio %g and slack %g, want 0 and more", l.Least, l.Ratio, l.Slack)
	case l.Ratio > 0 && l.Slack < max(1, l.Ratio):
		return invalid("limit: slack is %g, want at least that of one draw and of one step, %g", l.Slack, max(1, l.Ratio))
	}
	return nil
}

// due is how many draws belong to the steps that there are.
func (l Limit) due(p *Position, steps int64) float64 {
	return l.Ratio * float64(steps-max(l.Least, p.Began))
}

// draws says whether so many draws can be made.
func (l Limit) draws(p *Position, steps, count int64) bool {
	return steps >= l.Least && (l.Ratio == 0 || float64(p.Draws+count) <= l.due(p, steps)+l.Slack)
}

// takes says whether so many steps can come.
func (l Limit) takes(p *Position, steps, count int64) bool {
	return l.Ratio == 0 || l.due(p, steps+count) <= float64(p.Draws)+l.Slack
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

// countRows is how many rows there are.
func (s *Store) countRows() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.visible
}

// countSteps is how many steps have come.
func (s *Store) countSteps() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.steps()
}

// bell tells those who wait that something has changed.
type bell struct {
	waiting atomic.Int64 // how many do; asked by each append, most of which find nobody

	mu     sync.Mutex // guards what follows
	rung   chan struct{}
	closed bool
}

// ring has all who wait look again.
func (b *bell) ring() {
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

// close ends all waits.
func (b *bell) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.ring()
}

// listen returns what is closed at the next change.
func (b *bell) listen() (<-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, engine.ErrClosed
	}
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung, nil
}

// wait returns when ready does not say that it is too early, or after a time what it says.
func (b *bell) wait(most time.Duration, ready func() error) error {
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	end := time.NewTimer(most)
	defer end.Stop()
	for {
		rung, err := b.listen() // before it is asked, so that no change is missed
		if err != nil {
			return err
		}
		if err = ready(); !errors.Is(err, ErrTooEarly) {
			return err
		}
		select {
		case <-rung:
		case <-end.C:
			return err
		}
	}
}
