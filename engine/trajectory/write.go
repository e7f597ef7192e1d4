package trajectory

import (
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/bucket"
)

// maxSteps is how many steps an episode has at most, with its last observation.
const maxSteps = math.MaxUint32

// Begin begins an episode, or goes on with one, and returns its number and the next step that it lacks. A higher attempt supersedes
// one that has not ended.
func (s *Store) Begin(id Identity) (number uint32, next int64, err error) {
	if id.ID == "" {
		return 0, 0, invalid("the id of an episode is empty")
	}
	if id.Attempt < 0 {
		return 0, 0, invalid("attempt is %d, want at least 0", id.Attempt)
	}
	number, next, announced, err := s.begin(id)
	if err != nil {
		return 0, 0, err
	}
	return number, next, acknowledged(s.episodes, announced)
}

// begin is Begin without the wait, with the end of the rows of episodes that are to be acknowledged.
func (s *Store) begin(id Identity) (number uint32, next, announced int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	before, err := s.current(id)
	if err != nil {
		return 0, 0, 0, err
	}
	if before != nil && before.Attempt == id.Attempt {
		if id.Group != before.Group || id.Env != before.Env {
			return 0, 0, 0, conflict("episode %q, attempt %d, was begun with group %q and env %q, not with %q and %q", id.ID, id.Attempt, before.Group, before.Env, id.Group, id.Env)
		}
		return before.number, before.Steps, before.announced, nil
	}
	s.mu.RLock()
	count := len(s.index.episodes)
	s.mu.RUnlock()
	if count == math.MaxUint32 {
		return 0, 0, 0, invalid("the store has %d episodes, and can have no more", count)
	}
	e := &episode{Identity: id, number: uint32(count), state: open, active: s.now()}
	changed := []*episode{e}
	if before != nil {
		old := *before
		old.state = superseded
		changed = []*episode{&old, e}
	}
	if _, err = s.announce(changed...); err != nil {
		return 0, 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.begin(e)
	return e.number, 0, e.announced, nil
}

// current returns the newest attempt of an id, nil for none; it is an error where another one cannot be begun, nor this one
// continued.
func (s *Store) current(id Identity) (*episode, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	number, ok := s.index.newest[id.ID]
	if !ok {
		return nil, nil
	}
	e := s.index.episodes[number]
	switch {
	case id.Attempt < e.Attempt:
		return nil, conflict("attempt %d of episode %q was superseded by attempt %d", id.Attempt, id.ID, e.Attempt)
	case id.Attempt > e.Attempt && e.state == ended:
		return nil, conflict("episode %q has ended in attempt %d, so there is no attempt %d", id.ID, e.Attempt, id.Attempt)
	case id.Attempt == e.Attempt && e.state == lost:
		return nil, conflict("attempt %d of episode %q was closed as lost; a higher one begins anew", id.Attempt, id.ID)
	case id.Attempt == e.Attempt && e.state == removed:
		return nil, conflict("attempt %d of episode %q was removed; a higher one begins anew", id.Attempt, id.ID)
	}
	return e, nil
}

// announce writes what happened to episodes, changes those that the index has to what they are now, and returns the end of the rows.
// The caller holds s.writing.
func (s *Store) announce(changed ...*episode) (end int64, err error) {
	rec := eventsOf(s.now(), changed...)
	defer rec.Release()
	first, end, err := s.episodes.Append(bucket.Record{Rows: rec}, false)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range changed {
		e.row, e.announced = first+int64(i), end
		if int64(e.number) < int64(len(s.index.episodes)) {
			known := s.index.episodes[e.number]
			known.state, known.Ending, known.row, known.announced = e.state, e.Ending, e.row, e.announced
		}
	}
	return end, nil
}

// find returns an episode by its number.
func (s *Store) find(number uint32) (*episode, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if int64(number) >= int64(len(s.index.episodes)) || s.index.episodes[number].state == unknown {
		return nil, fmt.Errorf("%w: there is no episode of number %d", ErrNotFound, number)
	}
	return s.index.episodes[number], nil
}

// Append stores steps of an episode from the given one on, or its last observation, and returns how many were not there before. They
// are acknowledged.
func (s *Store) Append(number uint32, first int64, rows arrow.Record, last bool) (stored int64, err error) {
	defer s.appended(time.Now(), last, &stored, &err)
	n := rows.NumRows()
	if first < 0 || first+n > maxSteps {
		return 0, invalid("steps %d to %d, want 0 to %d", first, first+n, int64(maxSteps))
	}
	if last && n != 1 {
		return 0, invalid("an episode has one last observation, not %d", n)
	}
	e, err := s.find(number)
	if err != nil {
		return 0, err
	}
	for known := int64(0); ; {
		there, end, err := s.tryAppend(e, first, known, rows, last)
		if err != nil {
			return 0, err
		}
		if there == known {
			if err := acknowledged(s.steps, end); err != nil {
				return 0, err
			}
			s.show(end)
			return n - there, nil
		}
		if err := s.compare(e, first, known, there, rows); err != nil {
			return 0, err
		}
		known = there
	}
}

// tryAppend appends the rows behind the known ones, if no more than those are there; else it returns how many are. It waits for no
// acknowledgement but returns the end of the rows that are to be acknowledged.
func (s *Store) tryAppend(e *episode, first, known int64, rows arrow.Record, last bool) (there, end int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	n := rows.NumRows()
	if there, end, err = s.there(e, first, n, last); err != nil || there != known || known == n {
		return there, end, err
	}
	f := s.frame
	if f == nil { // the first step says what the columns are
		if f, err = frameOf(rows.Schema()); err != nil {
			return 0, 0, err
		}
	}
	given, err := f.conform(rows, last)
	if err != nil {
		return 0, 0, err
	}
	defer given.Release()
	rest := given.NewSlice(known, n)
	defer rest.Release()
	if err := s.holdContent(rest, f.content); err != nil {
		return 0, 0, err
	}
	placed := f.place(rest, e.number, first+known, last)
	defer placed.Release()
	at, end, err := s.steps.Append(bucket.Record{Rows: placed}, false)
	if err != nil {
		return 0, 0, err
	}
	s.frame = f
	s.keepHot(at, rest)
	s.noteVersions(rest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.add(e, n-known, last)
	e.active = s.now()
	return known, end, nil
}

// there returns how many of n rows of an episode are there, and the end of its rows. It is an error where it can take none.
func (s *Store) there(e *episode, first, n int64, last bool) (there, end int64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case e.hidden():
		return 0, 0, conflict("episode %q, attempt %d, is %s and takes no more steps", e.ID, e.Attempt, e.state)
	case first > e.Steps:
		return 0, 0, conflict("step %d of episode %q would leave a gap: the next one is %d", first, e.ID, e.Steps)
	case last && e.Steps == 0:
		return 0, 0, conflict("episode %q has no step, and so no last observation", e.ID)
	case last && first < e.Steps:
		return 0, 0, conflict("the last observation of episode %q would be that of step %d, but it has %d steps", e.ID, first, e.Steps)
	}
	have := e.Steps
	if last {
		have = e.rows()
	}
	there = min(have-first, n)
	switch {
	case there == n:
	case e.state == ended:
		return 0, 0, conflict("episode %q, attempt %d, has ended with %d steps", e.ID, e.Attempt, e.Steps)
	case e.last:
		return 0, 0, conflict("episode %q has %d steps and its last observation, so there is no step %d", e.ID, e.Steps, first+there)
	}
	return there, e.end(), nil
}

// compare holds the rows from one to another of a batch, which begins at a step, against those that are there.
func (s *Store) compare(e *episode, first, from, to int64, rows arrow.Record) error {
	s.mu.RLock()
	offsets, end := e.offsets(first+from, first+to), e.end()
	s.mu.RUnlock()
	if err := acknowledged(s.steps, end); err != nil {
		return err
	}
	s.writing.Lock()
	f := s.frame
	s.writing.Unlock()
	given, err := f.conform(rows, true)
	if err != nil {
		return err
	}
	defer given.Release()
	c, err := s.steps.Take(offsets, false)
	if err != nil {
		return err
	}
	return each(c, func(rec arrow.Record, before int64) error {
		stored := f.columnsGiven(rec)
		defer stored.Release()
		for i := range int(stored.NumRows()) {
			at := from + before + int64(i)
			if column := differing(stored, i, given, int(at)); column != "" {
				return &DuplicateError{Episode: e.ID, Attempt: e.Attempt, Step: first + at, Column: column}
			}
		}
		return nil
	})
}

// Finish ends an episode. One that has ended like that is left as it is.
func (s *Store) Finish(number uint32, end Ending) error {
	e, err := s.find(number)
	if err != nil {
		return err
	}
	announced, err := s.finish(e, end)
	if err != nil {
		return err
	}
	return acknowledged(s.episodes, announced)
}

func (s *Store) finish(e *episode, end Ending) (announced int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	changed := *e
	s.mu.RUnlock()
	switch {
	case changed.state == ended && changed.Ending == end:
		return changed.announced, nil
	case changed.state != open:
		return 0, conflict("episode %q, attempt %d, is %s already", e.ID, e.Attempt, changed.state)
	case changed.Steps != end.Steps:
		return 0, conflict("episode %q has %d steps, and cannot end with %d", e.ID, changed.Steps, end.Steps)
	}
	changed.state, changed.Ending = ended, end
	return s.announce(&changed)
}

// CloseLost ends open episodes to which nothing was added for that long, and returns how many. None of them can go on, but for a
// higher attempt.
func (s *Store) CloseLost(idle time.Duration) (count int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	var gone []*episode
	s.mu.RLock()
	for _, e := range s.index.episodes {
		if e.state == open && s.now().Sub(e.active) >= idle {
			changed := *e
			changed.state, changed.Truncated = lost, true
			gone = append(gone, &changed)
		}
	}
	s.mu.RUnlock()
	if len(gone) == 0 {
		return 0, nil
	}
	end, err := s.announce(gone...)
	if err != nil {
		return 0, err
	}
	return len(gone), acknowledged(s.episodes, end)
}
