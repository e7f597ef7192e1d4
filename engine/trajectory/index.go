package trajectory

// index is what is where, in memory: of each row 13 bytes, and the episodes. It is made anew by an opening, from three narrow
// columns of the steps and all of the episodes.
type index struct {
	chunks   []*chunk
	rows     int64             // of the bucket of steps, that it knows
	visible  int64             // those below are acknowledged
	episodes []*episode        // by number
	newest   map[string]uint32 // the number of the newest attempt, by id
	versions *versions         // nil until somebody asks for them
}

func newIndex() *index { return &index{newest: map[string]uint32{}} }

// at returns the chunk of a row, and its place there.
func (x *index) at(offset int64) (*chunk, int64) {
	return x.chunks[offset>>chunkBits], offset & (chunkRows - 1)
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
		c, i := x.at(before)
		c.next[i] = uint32(first - before)
	}
	step := e.rows()
	for o := first; o < first+count; o++ {
		if o>>chunkBits == int64(len(x.chunks)) {
			x.chunks = append(x.chunks, new(chunk))
		}
		c, i := x.at(o)
		c.episode[i], c.step[i], c.last[i] = e.number, uint32(step+o-first), last
		if o+1 < first+count {
			c.next[i] = 1
		}
	}
	e.add(first, count, last)
	x.rows += count
}

// isStep says whether a row is a step that somebody may want: no last observation, and of an episode that counts.
func (x *index) isStep(offset int64) bool {
	if offset < 0 || offset >= x.visible {
		return false
	}
	c, i := x.at(offset)
	return !c.last[i] && !x.of(offset).hidden()
}

// of returns the episode of a row that is there.
func (x *index) of(offset int64) *episode {
	c, i := x.at(offset)
	return x.episodes[c.episode[i]]
}
