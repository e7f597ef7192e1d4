package trajectory

import (
	"encoding/json"
	"fmt"

	"github.com/persisting/persisting/engine/table"
)

// Described is what an episode is.
type Described struct {
	Number           uint32          `json:"number"`
	ID               string          `json:"id"`
	Group            string          `json:"group"`
	Env              string          `json:"env"`
	Attempt          int32           `json:"attempt"`
	State            string          `json:"state"`
	Steps            int64           `json:"steps"`
	Terminated       bool            `json:"terminated"`
	Truncated        bool            `json:"truncated"`
	FinalObservation bool            `json:"final_observation"`
	Metadata         json.RawMessage `json:"metadata,omitempty"`
}

// Describe returns what the newest attempt of an episode is.
func (s *Store) Describe(id string) (Described, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	number, ok := s.index.newest[id]
	if !ok {
		return Described{}, fmt.Errorf("%w: there is no episode %q", ErrNotFound, id)
	}
	e := s.index.episodes[number]
	if e.state == removed {
		return Described{}, fmt.Errorf("%w: episode %q was removed", ErrNotFound, id)
	}
	return Described{
		Number: e.number, ID: e.ID, Group: e.Group, Env: e.Env, Attempt: e.Attempt, State: e.state.String(), Steps: e.Steps,
		Terminated: e.Terminated, Truncated: e.Truncated, FinalObservation: e.last, Metadata: json.RawMessage(e.Metadata),
	}, nil
}

// Read returns the steps of an episode, in their order, and last its last observation if it has one.
func (s *Store) Read(number uint32) (*table.Cursor, error) {
	e, err := s.find(number)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	offsets := e.offsets(0, e.rows())
	shown := s.index.visible
	s.mu.RUnlock()
	n := int64(len(offsets))
	for n > 0 && offsets[n-1] >= shown {
		n--
	}
	if n > 0 && offsets[n-1]-offsets[0] == n-1 {
		return s.steps.Read(offsets[0], n, false)
	}
	if n == 0 {
		return s.steps.Read(0, 0, false)
	}
	return s.steps.Take(offsets[:n], false)
}

// Take returns rows of the bucket of steps by their offsets, in that order.
func (s *Store) Take(offsets []int64) (*table.Cursor, error) { return s.steps.Take(offsets, false) }

// Steps answers a query over the rows of steps. Its rows may be none that count, see [Store.AreSteps].
func (s *Store) Steps(q table.Query) (*table.Cursor, error) { return s.steps.Query(q, nil) }

// Episodes answers a query over what happened to episodes. Its rows may be older than the newest of their episode, see
// [Store.AreEpisodes].
func (s *Store) Episodes(q table.Query) (*table.Cursor, error) { return s.episodes.Query(q, nil) }

// AreSteps says of rows of the bucket of steps which are steps of episodes that are open or have ended.
func (s *Store) AreSteps(offsets []int64, out []bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i, offset := range offsets {
		out[i] = s.index.isStep(offset)
	}
}

// AreEpisodes says of rows of the bucket of episodes which are the newest ones of theirs, by the numbers of these.
func (s *Store) AreEpisodes(offsets []int64, numbers []int64, out []bool) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, number := range numbers {
		if number < 0 || number >= int64(len(s.index.episodes)) {
			return fmt.Errorf("%w: there is no episode of number %d", ErrNotFound, number)
		}
	}
	for i, number := range numbers {
		out[i] = s.index.episodes[number].row == offsets[i]
	}
	return nil
}
