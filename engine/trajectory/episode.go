package trajectory

import "time"

// phase is how far an episode is.
type phase uint8

const (
	unknown    phase = iota // its begin was lost
	open                    // more steps may come
	ended                   // whole
	lost                    // its writer did not come back
	superseded              // by a higher attempt
	removed                 // by somebody
)

var phases = [...]string{unknown: "unknown", open: "open", ended: "ended", lost: "lost", superseded: "superseded", removed: "removed"}

func (p phase) String() string { return phases[p] }

// Identity is what an episode is begun with.
type Identity struct {
	ID      string `json:"id"`
	Group   string `json:"group"`
	Env     string `json:"env"`
	Attempt int32  `json:"attempt"`
}

// Ending is what an episode ends with.
type Ending struct {
	Steps      int64  `json:"steps"` // that it has, without the last observation
	Terminated bool   `json:"terminated"`
	Truncated  bool   `json:"truncated"`
	Metadata   string `json:"metadata"` // a JSON object, or empty
}

// episode is one attempt at an episode.
type episode struct {
	Identity
	Ending           // of one that is not open; Steps is at all times how many there are
	number    uint32 // of the episode
	state     phase
	last      bool      // it has a last observation
	runs      []run     // where its rows are
	row       int64     // of the row in the episodes that counts
	active    time.Time // when it was begun, appended to, or found by an opening
	announced int64     // end of the rows in the episodes to be acknowledged before its number is given out
}

// run is rows that lie side by side.
type run struct {
	first int64 // offset
	step  int64 // of the first one
	count int64
}

// rows is the number of its rows.
func (e *episode) rows() int64 {
	if e.last {
		return e.Steps + 1
	}
	return e.Steps
}

// hidden says that nobody wants to draw its steps.
func (e *episode) hidden() bool { return e.state != open && e.state != ended }

// gone says that nobody can read its steps any more. Those of a lost one can be until another attempt comes.
func (e *episode) gone() bool { return e.state == superseded || e.state == unknown }

// offsets returns where its rows from one to another are.
func (e *episode) offsets(from, to int64) []int64 {
	out := make([]int64, 0, max(0, to-from))
	for _, r := range e.runs {
		for s := max(from, r.step); s < min(to, r.step+r.count); s++ {
			out = append(out, r.first+s-r.step)
		}
	}
	return out
}

// end returns the offset behind its last row.
func (e *episode) end() int64 {
	if len(e.runs) == 0 {
		return 0
	}
	r := e.runs[len(e.runs)-1]
	return r.first + r.count
}

// add notes rows at an offset, which come behind those that it has.
func (e *episode) add(first, count int64, last bool) {
	if n := len(e.runs); n > 0 && e.end() == first {
		e.runs[n-1].count += count
	} else {
		e.runs = append(e.runs, run{first: first, step: e.rows(), count: count})
	}
	if last {
		e.last = true
	} else {
		e.Steps += count
	}
}
