package metrics

import (
	"sync"
	"time"
)

const (
	// surveyPatience is how long a scrape waits for a survey, before it says what the one before has found.
	surveyPatience = 100 * time.Millisecond
	// surveyShare is for how many times its own duration a survey counts as new, so that surveys take no more than a hundredth of a
	// processor, however many ask.
	surveyShare = 100
)

// survey is what takes a while to find out, as it goes over a directory or over all episodes. Whoever asks gets it new, if that is
// not asked too often and does not take too long, and else as it was.
type survey[T any] struct {
	look func() (T, error)
	fail func(error) // is told of a look that failed

	mu      sync.Mutex // guards what follows
	found   T
	until   time.Time     // it counts as new
	running chan struct{} // closed at the end of the look that is under way; nil without one
	over    bool
}

// get returns what was found, by a look that begins now if it is time for one.
func (s *survey[T]) get() T {
	s.mu.Lock()
	if s.running == nil && !s.over && time.Now().After(s.until) {
		s.running = make(chan struct{})
		go s.run(s.running)
	}
	running := s.running
	s.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-time.After(surveyPatience):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found
}

func (s *survey[T]) run(running chan struct{}) {
	begun := time.Now()
	found, err := s.look()
	if err != nil {
		s.fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.found = found
	}
	s.until = time.Now().Add(surveyShare * time.Since(begun))
	s.running = nil
	close(running)
}

// close waits for the look that is under way, after which there is none.
func (s *survey[T]) close() {
	s.mu.Lock()
	s.over = true
	running := s.running
	s.mu.Unlock()
	if running != nil {
		<-running
	}
}
