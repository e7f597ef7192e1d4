package trajectory

import "fmt"

// Remove takes the newest attempts of episodes out of all that is read and drawn, for good, and returns how many of them were not
// removed before. Nothing is removed where one of the ids is unknown. Their rows stay, as those of attempts that were superseded do:
// an offset is a place in the bucket, and means the same for ever.
func (s *Store) Remove(ids []string) (count int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	gone, err := s.toRemove(ids)
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	end, err := s.announce(gone...)
	if err != nil {
		return 0, err
	}
	return len(gone), acknowledged(s.episodes, end)
}

// toRemove returns the newest attempts at ids as they are once they are removed, each once, without those that are.
func (s *Store) toRemove(ids []string) ([]*episode, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var gone []*episode
	taken := map[string]bool{}
	for _, id := range ids {
		number, ok := s.index.newest[id]
		if !ok {
			return nil, fmt.Errorf("%w: there is no episode %q", ErrNotFound, id)
		}
		changed := *s.index.episodes[number]
		if changed.state == removed || taken[id] {
			continue
		}
		changed.state, taken[id] = removed, true
		gone = append(gone, &changed)
	}
	return gone, nil
}
