package trajectory

import (
	"errors"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/sheet"
	"github.com/persisting/persisting/metrics"
)

// measured opens a store whose metrics are counted, and returns what reads them.
func measured(t *testing.T, dir string, hot int64) (*Store, func() metrics.TrajectoriesStatus) {
	t.Helper()
	set, o := metrics.NewSet("", nil), DefaultOptions()
	o.Metrics, o.HotBytes = set, hot
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
		if left := len(set.AllTrajectories()) + len(set.Buckets()); left != 0 {
			t.Errorf("%d have series after the end", left)
		}
	})
	return s, func() metrics.TrajectoriesStatus {
		t.Helper()
		status := set.AllTrajectories()[0].Status()
		if status.TrajectoriesState, err = s.survey(); err != nil { // that of the status may be some milliseconds old
			t.Error(err)
		}
		return status
	}
}

func TestWhatBecameOfEpisodesIsCounted(t *testing.T) {
	s, status := measured(t, t.TempDir(), 1<<30)
	ended, _ := begin(t, s, "ended", 0)
	appendSteps(t, s, ended, 0, 5, 5)
	appendSteps(t, s, ended, 0, 5, 0) // the same again
	if _, err := s.Append(ended, 5, someSteps(t, 5, 1), true); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(ended, Ending{Steps: 5, Truncated: true}); err != nil {
		t.Fatal(err)
	}
	superseded, _ := begin(t, s, "again", 0)
	appendSteps(t, s, superseded, 0, 3, 3)
	again, _ := begin(t, s, "again", 1)
	appendSteps(t, s, again, 0, 2, 2)
	if _, err := s.Append(again, 9, someSteps(t, 9, 1), false); !errors.Is(err, ErrConflict) {
		t.Fatalf("a gap: %v", err)
	}
	want := metrics.TrajectoriesState{Open: 1, Ended: 1, Superseded: 1, OpenSteps: 2, EndedSteps: 5, HiddenSteps: 3, Rows: 11}
	got := status()
	if got.Appended != 10 || got.Faults != 0 || got.LogBytes == 0 {
		t.Errorf("%+v", got)
	}
	got.LogBytes, got.TableBytes = 0, 0
	if got.TrajectoriesState != want {
		t.Errorf("%+v\nwant %+v", got.TrajectoriesState, want)
	}
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	if count, err := s.CloseLost(time.Minute); err != nil || count != 1 {
		t.Fatal(count, err)
	}
	if got := status(); got.Open != 0 || got.Lost != 1 || got.OpenSteps != 0 || got.HiddenSteps != 5 {
		t.Errorf("after one was lost: %+v", got)
	}
}

func TestASurveyLooksAtAllEpisodes(t *testing.T) {
	s := &Store{index: newIndex()}
	for i := range uint32(2*surveyed + 1) {
		s.index.begin(&episode{Identity: Identity{ID: fmt.Sprint(i)}, number: i, state: ended, Ending: Ending{Steps: 3}})
	}
	found := metrics.TrajectoriesState{}
	looks := 1
	for from := 0; s.surveyEpisodes(from, &found); from += surveyed {
		looks++
	}
	if found.Ended != 2*surveyed+1 || found.EndedSteps != 3*found.Ended || looks != 3 {
		t.Errorf("%d looks have found %+v", looks, found)
	}
}

// draw makes draws of a sampler, and gives up what it has drawn.
func draw(t *testing.T, p *Sampler, draws int64) {
	t.Helper()
	const most = 1 << 12
	out := memory.Allocator.Allocate(most * p.parts())
	defer memory.Allocator.Free(out)
	into := make([]int64, p.parts())
	for i := range into {
		into[i] = int64(uintptr(unsafe.Pointer(&out[most*i])))
	}
	if _, err := p.Sample(draws, -1, into); err != nil {
		t.Fatal(err)
	}
}

func TestSamplesAndWhereTheirRowsCameFromAreCounted(t *testing.T) {
	for hot, mirrored := range map[int64]bool{1 << 30: true, 0: false} {
		s, status := measured(t, t.TempDir(), hot)
		number, _ := begin(t, s, "a", 0)
		appendSteps(t, s, number, 0, 50, 50)
		windows, err := s.Sampler(Law{Order: uniformly, Length: 4, Stride: 1, Columns: []string{"obs"}})
		if err != nil {
			t.Fatal(err)
		}
		draw(t, windows, 8)
		got := status()
		if got.Samples != 1 || got.Drawn != 32 || got.SampleSeconds <= 0 || got.Hot+got.Cold != 32 || (got.Hot == 32) != mirrored || (got.Cold == 32) == mirrored {
			t.Errorf("mirrored %v: %+v", mirrored, got)
		}
		if (got.HotRows == 50) != mirrored || (got.HotBytes > 0) != mirrored || got.Behind != 0 {
			t.Errorf("mirrored %v: %+v", mirrored, got.TrajectoriesState)
		}
		ordered, err := s.Sampler(Law{Order: inOrder, Length: 1, Stride: 1, Columns: []string{"obs"}})
		if err != nil {
			t.Fatal(err)
		}
		draw(t, ordered, 20)
		if got := status().Behind; got != 30 {
			t.Errorf("after 20 of 50 steps, %d are before the sampler", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLeasesTagsAndPrioritiesAreCounted(t *testing.T) {
	s, status := measured(t, t.TempDir(), 1<<30)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 10, 10)
	var batches []int64
	for _, offsets := range [][]int64{{0, 1, 2}, {3}} {
		batch, err := s.Lease("train", offsets)
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, batch)
	}
	if err := s.Tag("step 1"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second changes nothing
		if err := s.Ack(batches[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ack(99); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a batch that there is not: %v", err)
	}
	if err := s.Prioritize([]int64{4, 5}, []float64{1, 2}); err != nil {
		t.Fatal(err)
	}
	got := status()
	if got.Leases != 2 || got.Acks != 1 || got.Prioritized != 2 || got.Leased != 1 || got.LeasedSteps != 1 || got.Tags != 1 || got.Faults != 0 {
		t.Errorf("%+v", got)
	}
	if err := s.Restore("step 1"); err != nil {
		t.Fatal(err)
	}
	if got := status(); got.Leased != 2 || got.LeasedSteps != 4 {
		t.Errorf("after a return: %+v", got)
	}
}

func TestStepsThatLieInSheetsAreCounted(t *testing.T) {
	s, status := measured(t, t.TempDir(), 1<<30)
	number, _ := begin(t, s, "a", 0)
	p := openSheet(t, s)
	p.put(number, 0, 0, 3)
	if got := status(); got.SheetRows != 3 || got.Appended != 0 {
		t.Errorf("before they are sent: %+v", got)
	}
	p.send(t)
	if got := status(); got.SheetRows != 0 || got.Appended != 3 {
		t.Errorf("after it: %+v", got)
	}
}

func TestKindsOfErrors(t *testing.T) {
	for err, want := range map[error]metrics.Kind{
		nil: "", invalid("no"): metrics.Refused, conflict("no"): metrics.Refused, &DuplicateError{}: metrics.Refused,
		engine.ErrReadOnly: metrics.Refused, engine.ErrClosed: metrics.Refused, &engine.SchemaError{}: metrics.Refused,
		engine.ErrCorrupt: metrics.Corrupt, sheet.ErrDamaged: metrics.Corrupt,
		engine.ErrPoisoned: metrics.Storage, errors.New("disk"): metrics.Storage,
	} {
		if got := kindOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}
