package marks

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is what a task has marked, as plain as can be.
type model map[string]map[int64]bool

func (m model) apply(r *rand.Rand, into *Marks) []byte {
	task := []string{"a", "b", "task of any name \x00ä"}[r.IntN(3)]
	var offsets []int64
	from := r.Int64N(4 * chunkBits)
	for range r.IntN(40) {
		offsets = append(offsets, from+r.Int64N(100))
	}
	if r.IntN(4) == 0 { // whole chunks
		for offset := from; offset < from+2*chunkBits; offset++ {
			offsets = append(offsets, offset)
		}
	}
	var record []byte
	switch r.IntN(8) {
	case 0:
		record = UnmarkRecord(task)
		delete(m, task)
	case 1, 2:
		record = ClearRecord(RangesOf(offsets))
		for _, set := range m {
			for _, offset := range offsets {
				delete(set, offset)
			}
		}
	case 3:
		end := r.Int64N(8 * chunkBits)
		record = EndRecord(end)
		beyond := false
		for _, set := range m {
			for offset := range set {
				if offset >= end {
					beyond = true
					delete(set, offset)
				}
			}
		}
		if into.Beyond(end) != beyond {
			panic("Beyond")
		}
	default:
		record = MarkRecord(task, RangesOf(offsets))
		if m[task] == nil {
			m[task] = map[int64]bool{}
		}
		for _, offset := range offsets {
			m[task][offset] = true
		}
	}
	return record
}

func (m model) equals(t *testing.T, have *Marks) {
	t.Helper()
	counts := map[string]int64{}
	for task, set := range m {
		counts[task] = int64(len(set))
		var got []int64
		for from, to := range have.Of(task).Ranges(8 * chunkBits) {
			for offset := from; offset < to; offset++ {
				got = append(got, offset)
			}
		}
		if want := slices.Sorted(maps.Keys(set)); !slices.Equal(got, want) {
			t.Fatalf("%q has %d offsets, want %d", task, len(got), len(want))
		}
		for _, offset := range got[:min(len(got), 100)] {
			if !have.Of(task).Has(offset) || have.Of(task).Word(offset/64*64)>>(offset%64)&1 != 1 {
				t.Fatalf("%q lacks %d", task, offset)
			}
		}
	}
	if got := have.Counts(); !maps.Equal(got, counts) {
		t.Fatalf("counts %v, want %v", got, counts)
	}
}

// TestMarksAreThoseOfPlainSets does many changes, with the marks written and read in between.
func TestMarksAreThoseOfPlainSets(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		m, have, records := model{}, &Marks{}, [][]byte(nil)
		var snapshot []byte
		for step := range 60 {
			record := m.apply(r, have)
			records = append(records, record)
			if err := have.Replay(record); err != nil {
				t.Fatal(err)
			}
			if step%20 == 19 {
				m.equals(t, have)
				snapshot, records = have.Snapshot(0), nil
			}
		}
		again := &Marks{}
		if err := again.Restore(snapshot); err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			if err := again.Replay(record); err != nil {
				t.Fatal(err)
			}
		}
		m.equals(t, again)
		if !bytes.Equal(again.Snapshot(0), have.Snapshot(0)) {
			t.Fatal("the snapshots differ")
		}
	}
}

func TestASnapshotLeavesOutWhatIsGone(t *testing.T) {
	m := &Marks{}
	if err := m.Replay(MarkRecord("a", []Range{{0, 100}, {200, 300}})); err != nil {
		t.Fatal(err)
	}
	again := &Marks{}
	if err := again.Restore(m.Snapshot(250)); err != nil {
		t.Fatal(err)
	}
	if got := again.Counts()["a"]; got != 50 {
		t.Errorf("%d, want 50", got)
	}
}

// TestWhatIsNoRecordIsRefused shortens and lengthens records and snapshots.
func TestWhatIsNoRecordIsRefused(t *testing.T) {
	m := &Marks{}
	record := MarkRecord("task", []Range{{1, 2}, {5, 70000}})
	if err := m.Replay(record); err != nil {
		t.Fatal(err)
	}
	for _, whole := range [][]byte{record, UnmarkRecord("task"), ClearRecord([]Range{{1, 3}}), EndRecord(7)} {
		for n := range whole {
			if err := (&Marks{}).Replay(whole[:n]); err == nil {
				t.Errorf("%d bytes of %x are a record", n, whole)
			}
		}
		if err := (&Marks{}).Replay(append(bytes.Clone(whole), 0)); err == nil {
			t.Errorf("%x and a byte is a record", whole)
		}
	}
	if err := (&Marks{}).Replay([]byte{9}); err == nil {
		t.Error("9 is a record")
	}
	snapshot := m.Snapshot(0)
	for n := range snapshot {
		if err := (&Marks{}).Restore(snapshot[:n]); err == nil {
			t.Errorf("%d bytes are a snapshot", n)
		}
	}
}
