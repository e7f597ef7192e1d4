package marks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Kinds of records; they never change.
const (
	kindMark   = 1
	kindUnmark = 2
	kindClear  = 3
	kindEnd    = 4
)

// Range is a run of offsets, First <= offset < End.
type Range struct{ First, End int64 }

// RangesOf returns offsets, in any order, as ranges in theirs.
func RangesOf(offsets []int64) (ranges []Range) {
	// The offsets are the caller's, who gets them back in the order given.
	sorted := slices.Clone(offsets)
	slices.Sort(sorted)
	for _, offset := range sorted {
		if n := len(ranges); n > 0 && offset <= ranges[n-1].End {
			ranges[n-1].End = max(ranges[n-1].End, offset+1)
			continue
		}
		ranges = append(ranges, Range{offset, offset + 1})
	}
	return ranges
}

// Marks are what each task has consumed. The zero value has nothing.
type Marks struct{ tasks map[string]*Set }

// Of returns the set of a task, nil if it has marked nothing.
func (m *Marks) Of(task string) *Set { return m.tasks[task] }

// Counts returns how many rows each task has marked.
func (m *Marks) Counts() map[string]int64 {
	counts := map[string]int64{}
	for task, set := range m.tasks {
		counts[task] = set.Len()
	}
	return counts
}

// MarkRecord is the record that marks ranges for a task.
func MarkRecord(task string, ranges []Range) []byte {
	return appendRanges(appendName([]byte{kindMark}, task), ranges)
}

// UnmarkRecord is the record that forgets all that a task has marked.
func UnmarkRecord(task string) []byte { return appendName([]byte{kindUnmark}, task) }

// ClearRecord is the record that forgets that any task has marked ranges.
func ClearRecord(ranges []Range) []byte { return appendRanges([]byte{kindClear}, ranges) }

// EndRecord is the record that forgets what is marked from an offset on.
func EndRecord(offset int64) []byte { return binary.AppendUvarint([]byte{kindEnd}, uint64(offset)) }

// Beyond says whether anything is marked from an offset on.
func (m *Marks) Beyond(offset int64) bool {
	for _, set := range m.tasks {
		if set.Beyond(offset) {
			return true
		}
	}
	return false
}

func (m *Marks) mark(task string, ranges []Range) {
	set := m.tasks[task]
	if set == nil {
		set = &Set{}
		if m.tasks == nil {
			m.tasks = map[string]*Set{}
		}
		m.tasks[task] = set
	}
	for _, r := range ranges {
		set.Add(r.First, r.End)
	}
}

func (m *Marks) clear(ranges []Range) {
	for _, set := range m.tasks {
		for _, r := range ranges {
			set.Remove(r.First, r.End)
		}
	}
}

func (m *Marks) end(offset int64) {
	for _, set := range m.tasks {
		set.Remove(offset, set.end())
	}
}

// Snapshot is all that is marked, but for rows below first, of which none is left.
func (m *Marks) Snapshot(first int64) []byte {
	out := binary.AppendUvarint(nil, uint64(len(m.tasks)))
	// In order, so that the same marks are the same bytes.
	for _, task := range slices.Sorted(maps.Keys(m.tasks)) {
		set := m.tasks[task]
		// Nobody is asked about these rows again, and without this a snapshot would grow for ever.
		set.Remove(0, first)
		var ranges []Range
		for from, to := range set.Ranges(set.end()) {
			ranges = append(ranges, Range{from, to})
		}
		out = appendRanges(appendName(out, task), ranges)
	}
	return out
}

// Restore implements journal.State.
func (m *Marks) Restore(snapshot []byte) error {
	m.tasks = nil
	r := &reader{rest: snapshot}
	for range r.number() {
		task := r.name()
		ranges := r.ranges()
		if r.err != nil {
			break
		}
		m.mark(task, ranges)
	}
	return r.end()
}

// Replay implements journal.State.
func (m *Marks) Replay(record []byte) error {
	r := &reader{rest: record}
	var do func()
	switch kind := r.number(); kind {
	case kindMark:
		task, ranges := r.name(), r.ranges()
		do = func() { m.mark(task, ranges) }
	case kindUnmark:
		task := r.name()
		do = func() { delete(m.tasks, task) }
	case kindClear:
		ranges := r.ranges()
		do = func() { m.clear(ranges) }
	case kindEnd:
		offset := int64(r.number())
		do = func() { m.end(offset) }
	default:
		return fmt.Errorf("a record of the unknown kind %d", kind)
	}
	// Read to its end before anything is changed: a record that is wrong makes no half of a change.
	if err := r.end(); err != nil {
		return err
	}
	do()
	return nil
}

func appendName(out []byte, name string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(name))), name...)
}

func appendRanges(out []byte, ranges []Range) []byte {
	out = binary.AppendUvarint(out, uint64(len(ranges)))
	behind := int64(0)
	for _, r := range ranges {
		out = binary.AppendUvarint(out, uint64(r.First-behind))
		out = binary.AppendUvarint(out, uint64(r.End-r.First))
		behind = r.End
	}
	return out
}

// reader reads what was appended; err stays once it is set.
type reader struct {
	rest []byte
	err  error
}

var errShort = errors.New("it ends too early, or has a number that is too large")

// number reads one that is an offset at most.
func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	// A snapshot has a checksum and a record has one in the log, so this finds faults of a writer,
	// and not of a disk.
	if size <= 0 || n > math.MaxInt64 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) fail() { r.err, r.rest = errShort, nil }

func (r *reader) name() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	name := string(r.rest[:n])
	r.rest = r.rest[n:]
	return name
}

func (r *reader) ranges() (ranges []Range) {
	behind := int64(0)
	for range r.number() {
		first := behind + int64(r.number())
		end := first + int64(r.number())
		// Sums of numbers that each are in bounds may not be; a damaged record must not become a
		// range of years.
		if r.err != nil || first < behind || end < first {
			r.fail()
			return nil
		}
		ranges = append(ranges, Range{first, end})
		behind = end
	}
	return ranges
}

// end returns what was wrong.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("it has %d bytes too many", len(r.rest))
	}
	return r.err
}
