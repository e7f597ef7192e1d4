package trajectory

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/persisting/persisting/engine"
)

func lease(t *testing.T, s *Store, task string, offsets ...int64) int64 {
	t.Helper()
	number, err := s.Lease(task, offsets)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantPending(t *testing.T, s *Store, want ...Pending) {
	t.Helper()
	if got := s.Pending(); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("pending are %+v, want %+v", got, want)
	}
}

func TestBatchesArePendingUntilTheyAreAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 8, 8)
	one, two := lease(t, s, "train", 3, 1, 3), lease(t, s, "eval", 7)
	if one != 0 || two != 1 {
		t.Fatal(one, two)
	}
	pending := []Pending{{0, "train", []int64{3, 1, 3}}, {1, "eval", []int64{7}}}
	for range 2 {
		wantPending(t, s, pending...)
		done(t, s.Close())
		s = openStore(t, dir)
	}
	for range 2 {
		done(t, s.Ack(0))
	}
	wantPending(t, s, pending[1])
	for _, offset := range []int64{-1, 8} {
		_, err := s.Lease("train", []int64{0, offset})
		refused(t, err, ErrNotFound, "is of no step")
	}
	_, err := s.Lease("train", nil)
	refused(t, err, ErrInvalid, "no offsets")
	for _, batch := range []int64{-1, 2} {
		refused(t, s.Ack(batch), ErrNotFound, "there is no batch")
	}
	if next := lease(t, s, "train", 0); next != 2 {
		t.Error(next)
	}
	done(t, s.Close())
	refused(t, s.Ack(1), engine.ErrClosed, "closed")
}

func TestTags(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 8, 8)
	batch := func(n int64) Pending { return Pending{n, "train", []int64{n}} }
	for n := range int64(4) {
		lease(t, s, "train", n)
		if n%2 == 0 {
			done(t, s.Tag([]string{"first", "", "second"}[n]))
		}
		done(t, s.Ack(n))
	}
	lease(t, s, "train", 4)
	done(t, s.Tag("third"))
	refused(t, s.Tag(""), ErrInvalid, "empty")
	if got := s.Tags(); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Fatal(got)
	}
	wantPending(t, s, batch(4))
	done(t, s.Restore("second"))
	for range 2 {
		wantPending(t, s, batch(2), batch(3), batch(4))
		if got := s.Tags(); !slices.Equal(got, []string{"first", "second"}) {
			t.Fatal(got)
		}
		done(t, s.Close())
		s = openStore(t, dir)
	}
	done(t, s.Restore("first"))
	wantPending(t, s, batch(0), batch(1), batch(2), batch(3), batch(4))
	done(t, s.Untag("first"))
	refused(t, s.Untag("first"), ErrNotFound, `no tag "first"`)
	refused(t, s.Restore("second"), ErrNotFound, `no tag "second"`)
}

// TestBatchesOfStepsThatAreLost brings the steps back to what they were before a lease, as a failure of the power can do.
func TestBatchesOfStepsThatAreLost(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 3, 3)
	done(t, s.Close())
	back := lose(t, dir, stepsDir)
	s = openStore(t, dir)
	appendSteps(t, s, number, 3, 3, 3)
	lease(t, s, "train", 1)
	done(t, s.Tag("tag"))
	lease(t, s, "train", 2, 4)
	lease(t, s, "train", 5)
	done(t, s.Ack(2))
	done(t, s.Close())
	back()
	s = openStore(t, dir)
	appendSteps(t, s, number, 3, 3, 3)
	for range 2 {
		wantPending(t, s, Pending{0, "train", []int64{1}})
		done(t, s.Restore("tag"))
	}
}

func TestLeasesOfAReader(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 3, 3)
	lease(t, s, "train", 1)
	if _, err := os.Stat(filepath.Join(dir, leasesDir)); err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.ReadOnly = true
	reader, err := Open(dir, o)
	done(t, err)
	_, err = reader.Lease("train", []int64{1})
	refused(t, err, engine.ErrReadOnly, "given out")
	wantPending(t, reader)
	done(t, reader.Close())
}
