package leases

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is the same in plain Go: what happened, from which all is made anew.
type model struct {
	given [][]int64
	task  []string
	acked map[int64]bool
	gone  map[int64]bool
	tags  []string
	acks  []int64        // the numbers of batches, in the order in which they were acknowledged
	at    map[string]int // how long acks was at a tag
}

func (m *model) pending() (open []int64) {
	for number := range int64(len(m.given)) {
		if !m.acked[number] && !m.gone[number] {
			open = append(open, number)
		}
	}
	return open
}

func (m *model) untag(name string) {
	delete(m.at, name)
	m.tags = slices.DeleteFunc(m.tags, func(other string) bool { return other == name })
}

func (m *model) returnTo(name string) {
	at := m.at[name]
	for _, number := range m.acks[at:] {
		m.acked[number] = false
	}
	m.acks = m.acks[:at]
	for _, other := range slices.Clone(m.tags) {
		if m.at[other] > at {
			m.untag(other)
		}
	}
}

func check(t *testing.T, l *Leases, m *model) {
	t.Helper()
	var open []int64
	for _, b := range l.Pending() {
		open = append(open, b.Number)
		if b.Task != m.task[b.Number] || !slices.Equal(b.Offsets, m.given[b.Number]) {
			t.Fatalf("batch %d is %+v", b.Number, b)
		}
		if l.Open(b.Number) != b {
			t.Fatalf("batch %d is not open", b.Number)
		}
	}
	if want := m.pending(); !slices.Equal(open, want) {
		t.Fatalf("open are %v, want %v", open, want)
	}
	tags, want := l.Tags(), slices.Clone(m.tags)
	slices.Sort(tags)
	slices.Sort(want)
	if !slices.Equal(tags, want) {
		t.Fatalf("tags are %v, want %v", tags, want)
	}
	if l.Next() != int64(len(m.given)) {
		t.Fatalf("the next is %d, want %d", l.Next(), len(m.given))
	}
}

// TestModel changes leases at random, and makes them anew now and then from a snapshot and the records since.
func TestModel(t *testing.T) {
	for seed := range uint64(5) {
		chance := rand.New(rand.NewPCG(seed, 1))
		l := &Leases{}
		m := &model{acked: map[int64]bool{}, gone: map[int64]bool{}, at: map[string]int{}}
		var snapshot []byte
		var records [][]byte
		for range 2000 {
			record := change(chance, l, m)
			if record == nil {
				continue
			}
			if err := l.Replay(record); err != nil {
				t.Fatal(err)
			}
			records = append(records, record)
			check(t, l, m)
			if chance.IntN(50) > 0 {
				continue
			}
			again := &Leases{}
			if snapshot != nil {
				if err := again.Restore(snapshot); err != nil {
					t.Fatal(err)
				}
			}
			for _, record := range records {
				if err := again.Replay(record); err != nil {
					t.Fatal(err)
				}
			}
			check(t, again, m)
			l = again
			if chance.IntN(2) == 0 {
				snapshot, records = l.Snapshot(), nil
			}
		}
	}
}

// change makes a change of the model, and returns its record; nil where there is nothing to change.
func change(chance *rand.Rand, l *Leases, m *model) []byte {
	open := m.pending()
	switch kind := chance.IntN(20); {
	case kind < 7 || len(open) == 0:
		task := fmt.Sprint("task ", chance.IntN(3))
		offsets := make([]int64, chance.IntN(5))
		for i := range offsets {
			offsets[i] = chance.Int64N(1 << chance.IntN(40))
		}
		m.given, m.task = append(m.given, offsets), append(m.task, task)
		return l.LeaseRecord(task, offsets)
	case kind < 15:
		number := open[chance.IntN(len(open))]
		m.acked[number] = true
		m.acks = append(m.acks, number)
		return AckRecord(number)
	case kind == 15:
		number := open[chance.IntN(len(open))]
		m.gone[number] = true
		return ForgetRecord(number)
	case kind < 18:
		name := fmt.Sprint("tag ", chance.IntN(6))
		m.untag(name)
		m.tags = append(m.tags, name)
		m.at[name] = len(m.acks)
		return TagRecord(name)
	case len(m.tags) == 0:
		return nil
	}
	name := m.tags[chance.IntN(len(m.tags))]
	if chance.IntN(2) == 0 {
		m.untag(name)
		return UntagRecord(name)
	}
	m.returnTo(name)
	return ReturnRecord(name)
}

func TestWhatIsKept(t *testing.T) {
	l := &Leases{}
	replay := func(record []byte) {
		t.Helper()
		if err := l.Replay(record); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		replay(l.LeaseRecord("train", []int64{1, 2}))
		replay(AckRecord(l.Next() - 1))
	}
	if len(l.behind) > 0 || len(l.Snapshot()) > 10 {
		t.Errorf("%d batches are kept to which nobody can return", len(l.behind))
	}
	replay(TagRecord("one"))
	replay(l.LeaseRecord("train", []int64{3}))
	replay(AckRecord(100))
	replay(TagRecord("two"))
	if got := l.Tags(); !slices.Equal(got, []string{"one", "two"}) || len(l.behind) != 1 {
		t.Error(got, l.behind)
	}
	if got := l.Beyond(3); !slices.Equal(got, []int64{100}) || l.Beyond(4) != nil {
		t.Error(got)
	}
	replay(TagRecord("one")) // which is that time from now on
	if len(l.behind) > 0 {
		t.Error(l.behind)
	}
	replay(l.LeaseRecord("train", []int64{9}))
	replay(AckRecord(101))
	replay(ForgetRecord(101))
	replay(ReturnRecord("one"))
	if len(l.Pending()) > 0 {
		t.Error(l.Pending())
	}
}

func TestRecordsThatCannotBe(t *testing.T) {
	l := &Leases{}
	lease := l.LeaseRecord("train", []int64{5, 3})
	for name, test := range map[string]struct {
		record []byte
		want   string
	}{
		"nothing":              {nil, "too early"},
		"an unknown kind":      {[]byte{9}, "unknown kind 9"},
		"half a lease":         {lease[:len(lease)-1], "too early"},
		"more than a lease":    {append(slices.Clone(lease), 0), "1 bytes too many"},
		"an offset below 0":    {[]byte{kindLease, 0, 0, 1, 1}, "cannot be"},
		"a batch of later":     {[]byte{kindLease, 7, 0, 0}, "batch 7 after batch -1"},
		"an ack of nothing":    {AckRecord(0), "batch 0 is not open"},
		"a tag that is none":   {UntagRecord("x"), `no tag "x"`},
		"a return to nothing":  {ReturnRecord("x"), `no tag "x"`},
		"nothing to forget":    {ForgetRecord(3), "batch 3 is not kept"},
		"a name that is short": {[]byte{kindTag, 5, 'a'}, "too early"},
	} {
		if err := l.Replay(test.record); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if l.Next() != 0 || len(l.Pending()) > 0 || len(l.Tags()) > 0 {
		t.Errorf("they have changed something: %+v", l)
	}
	for _, snapshot := range [][]byte{{}, {1}, {0, 0, 0, 1, 0, 0, 0, 0}, {1, 0, 0, 1, 0, 0, 1, 0}, {0, 0, 9, 1}, {0, 0, 0, 0, 0}} {
		if err := l.Restore(snapshot); err == nil {
			t.Errorf("%v: no error", snapshot)
		}
	}
}
