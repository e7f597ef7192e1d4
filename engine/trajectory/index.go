package trajectory

// index is what is where, in memory: of each row 12 bytes, and the episodes. It is made anew by an opening, from three narrow
// columns of the steps and all of the episodes.
type index struct {
	chunks   []*chunk
	rows     int64             // of the bucket of steps, that it knows
	visible  int64             // those below are acknowledged
	lasts    int64             // how many rows are last observations
	episodes []*episode        // by number
	newest   map[string]uint32 // the number of the newest attempt, by id
	versions *versions         // nil until somebody asks for them
}

func newIndex() *index { return &index{newest: map[string]uint32{}} }

// at returns what is known of a row.
func (x *index) at(offset int64) *place {
	return &x.chunks[offset>>chunkBits][offset&(chunkRows-1)]
}

// episode returns an episode, with all before it: those that nobody told of are unknown.
func (x *index) episode(number uint32) *episode {
	for int64(len(x.episodes)) <= int64(number) {
		x.episodes = append(x.episodes, &episode{number: uint32(len(x.episodes))})
	}
	return x.episodes[number]
}

// begin adds an episode, and makes it the newest of its id.
func (x *index) begin(e *episode) {
	x.episode(e.number)
	x.episodes[e.number] = e
	x.newest[e.ID] = e.number
}

// add notes rows, behind all that there are, of an episode.
func (x *index) add(e *episode, count int64, last bool) {
	first := x.rows
	before := e.end() - 1
	if before >= 0 {
		x.at(before).next = uint32(first - before)
	}
	step := e.rows()
	for o := first; o < first+count; o++ {
		if o>>chunkBits == int64(len(x.chunks)) {
			x.chunks = append(x.chunks, new(chunk))
		}
		next := uint32(0)
		switch {
		case last:
			next = nothing
		case o+1 < first+count:
			next = 1
		}
		*x.at(o) = place{episode: e.number, step: uint32(step + o - first), next: next}
	}
	e.add(first, count, last)
	x.rows += count
	if last {
		x.lasts += count
	}
}

// steps is how many steps are acknowledged, of all episodes that there ever were.
func (x *index) steps() int64 { return max(0, x.visible-x.lasts) }

// isStep says whether a row is a step that somebody may want: no last observation, and of an episode that counts.
func (x *index) isStep(offset int64) bool {
	if offset < 0 || offset >= x.visible {
		return false
	}
	return !x.at(offset).isLast() && !x.of(offset).hidden()
}

// of returns the episode of a row that is there.
func (x *index) of(offset int64) *episode { return x.episodes[x.at(offset).episode] }
