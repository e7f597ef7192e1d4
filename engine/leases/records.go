package leases

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Kinds of records; they never change.
const (
	kindLease  = 1
	kindAck    = 2
	kindTag    = 3
	kindUntag  = 4
	kindReturn = 5
	kindForget = 6
)

// LeaseRecord is the record that gives out the next batch.
func (l *Leases) LeaseRecord(task string, offsets []int64) []byte {
	return appendOffsets(appendName(binary.AppendUvarint([]byte{kindLease}, uint64(l.next)), task), offsets)
}

// AckRecord is the record that acknowledges an open batch.
func AckRecord(number int64) []byte { return binary.AppendUvarint([]byte{kindAck}, uint64(number)) }

// ForgetRecord is the record that takes a batch away, whose rows are lost.
func ForgetRecord(number int64) []byte {
	return binary.AppendUvarint([]byte{kindForget}, uint64(number))
}

// TagRecord is the record that gives a name to the time that it is.
func TagRecord(name string) []byte { return appendName([]byte{kindTag}, name) }

// UntagRecord is the record that takes a tag away.
func UntagRecord(name string) []byte { return appendName([]byte{kindUntag}, name) }

// ReturnRecord is the record that returns to the time of a tag.
func ReturnRecord(name string) []byte { return appendName([]byte{kindReturn}, name) }

// Replay implements journal.State.
func (l *Leases) Replay(record []byte) error {
	r := &reader{rest: record}
	var do func() error
	switch kind := r.number(); kind {
	case kindLease:
		b := &Batch{Number: r.number(), Task: r.name(), Offsets: r.offsets()}
		do = func() error { return l.lease(b) }
	case kindAck:
		number := r.number()
		do = func() error { return l.ack(number) }
	case kindTag:
		name := r.name()
		do = func() error { return l.tag(name) }
	case kindUntag:
		name := r.name()
		do = func() error { return l.untag(name) }
	case kindReturn:
		name := r.name()
		do = func() error { return l.returnTo(name) }
	case kindForget:
		number := r.number()
		do = func() error { return l.forget(number) }
	default:
		if r.err != nil {
			return r.err
		}
		return fmt.Errorf("a record of the unknown kind %d", kind)
	}
	// Read to its end before anything is changed: a record that is wrong makes no half of a change.
	if err := r.end(); err != nil {
		return err
	}
	return do()
}

// Snapshot is all that there is.
func (l *Leases) Snapshot() []byte {
	out := binary.AppendUvarint(nil, uint64(l.next))
	out = binary.AppendUvarint(out, uint64(l.acked))
	out = binary.AppendUvarint(out, uint64(len(l.tags)))
	for _, name := range l.Tags() {
		out = binary.AppendUvarint(appendName(out, name), uint64(l.tags[name]))
	}
	kept := append(l.Pending(), l.behind...)
	out = binary.AppendUvarint(out, uint64(len(kept)))
	for _, b := range kept {
		out = appendName(binary.AppendUvarint(out, uint64(b.Number)), b.Task)
		out = appendOffsets(binary.AppendUvarint(out, uint64(b.acked)), b.Offsets)
	}
	return out
}

// Restore implements journal.State.
func (l *Leases) Restore(snapshot []byte) error {
	r := &reader{rest: snapshot}
	*l = Leases{next: r.number(), acked: r.number(), open: map[int64]*Batch{}, tags: map[string]int64{}}
	for range r.number() {
		name := r.name()
		l.tags[name] = r.number()
		if r.err != nil {
			break
		}
	}
	for range r.number() {
		b := &Batch{Number: r.number(), Task: r.name(), acked: r.number(), Offsets: r.offsets()}
		switch {
		case r.err != nil || b.Number >= l.next || b.acked > l.acked:
			r.fail()
		case b.acked == 0:
			l.open[b.Number] = b
		default:
			l.behind = append(l.behind, b)
		}
		if r.err != nil {
			break
		}
	}
	return r.end()
}

func appendName(out []byte, name string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(name))), name...)
}

func appendOffsets(out []byte, offsets []int64) []byte {
	out = binary.AppendUvarint(out, uint64(len(offsets)))
	before := int64(0)
	for _, offset := range offsets {
		out = binary.AppendVarint(out, offset-before) // which is a zigzag
		before = offset
	}
	return out
}

// reader reads what was appended; err stays once it is set.
type reader struct {
	rest []byte
	err  error
}

var errShort = errors.New("it ends too early, or has a number that cannot be")

func (r *reader) fail() { r.err, r.rest = errShort, nil }

func (r *reader) number() int64 {
	n, size := binary.Uvarint(r.rest)
	// A snapshot has a checksum and a record has one in the log, so this finds faults of a writer, and not of a disk.
	if size <= 0 || n > math.MaxInt64 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return int64(n)
}

func (r *reader) name() string {
	n := r.number()
	if n > int64(len(r.rest)) {
		r.fail()
		return ""
	}
	name := string(r.rest[:n])
	r.rest = r.rest[n:]
	return name
}

func (r *reader) offsets() []int64 {
	n := r.number()
	if n > int64(len(r.rest)) { // each has a byte at least
		r.fail()
		return nil
	}
	offsets := make([]int64, 0, n)
	offset := int64(0)
	for range n {
		step, size := binary.Varint(r.rest)
		offset += step
		if size <= 0 || offset < 0 {
			r.fail()
			return nil
		}
		r.rest = r.rest[size:]
		offsets = append(offsets, offset)
	}
	return offsets
}

// end returns what was wrong.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("it has %d bytes too many", len(r.rest))
	}
	return r.err
}
