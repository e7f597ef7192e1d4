package trajectory

import (
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/metrics"
)

// surveyed is how many episodes are looked at in one go: appends wait for no more of them.
const surveyed = 4096

// survey finds out what is in the store.
func (s *Store) survey() (found metrics.TrajectoriesState, err error) {
	defer engine.Contain(&err)
	if m := s.mirror.Load(); m != nil {
		found.HotRows, found.HotBytes = m.Rows()
	}
	steps, episodes := s.steps.Stats(), s.episodes.Stats()
	found.LogBytes, found.TableBytes = steps.WALBytes+episodes.WALBytes, steps.TableBytes+episodes.TableBytes
	found.SheetRows, found.Behind = s.sheets.waiting(), s.behind.Load()
	found.Leased, found.LeasedSteps, found.Tags = s.lent.out()
	for from := 0; s.surveyEpisodes(from, &found); from += surveyed {
	}
	return found, nil
}

// surveyEpisodes counts episodes from one on, and says whether there are more.
func (s *Store) surveyEpisodes(from int, found *metrics.TrajectoriesState) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found.Rows = s.index.visible
	all := s.index.episodes
	for _, e := range all[from:min(from+surveyed, len(all))] {
		switch e.state {
		case open:
			found.Open++
			found.OpenSteps += e.Steps
		case ended:
			found.Ended++
			found.EndedSteps += e.Steps
		case lost:
			found.Lost++
			found.HiddenSteps += e.Steps
		case superseded:
			found.Superseded++
			found.HiddenSteps += e.Steps
		}
	}
	return from+surveyed < len(all)
}

// waiting is how many steps lie in the sheets. Those of one that is being taken at this moment are not among them.
func (x *sheets) waiting() (rows int64) {
	for _, h := range x.all() {
		if h.mu.TryLock() {
			rows += max(0, h.file.Count()-h.taken)
			h.mu.Unlock()
		}
	}
	return rows
}

// out is how many batches were given out and not acknowledged, how many steps they have, and how many tags there are.
func (l *lent) out() (batches, steps, tags int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.known.Pending() {
		batches, steps = batches+1, steps+int64(len(b.Offsets))
	}
	return batches, steps, int64(len(l.known.Tags()))
}
