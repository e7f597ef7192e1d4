package trajectory

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persisting/persisting/engine"
)

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
