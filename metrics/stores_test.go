package metrics

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestAStoreOfParametersHasItsOwnSeries(t *testing.T) {
	s, reg := newSet(t)
	state := ParametersState{Names: 2, Versions: 5, DiskBytes: 70, Newest: 1.5, Open: 1}
	look := func() (ParametersState, error) { return state, nil }
	p := s.Parameters("/data/params", look, nil)
	p.Done(Save, time.Second, "")
	p.Done(Load, time.Second, Corrupt)
	p.Done(Load, time.Second, Schema) // which no store has: it is counted as the last kind
	stored := SavedBytes{Shared: 100, Changed: 20, Whole: 3, Written: 4}
	p.Saved(stored)
	p.Loaded(7)
	p.Pulled(50, 5)
	p.Verified(9, 2)
	p.Collected(3, 30)
	saved := `
# HELP persisting_params_saved_bytes_total Bytes of the tensors of versions that were saved, by how they were stored.
# TYPE persisting_params_saved_bytes_total counter
persisting_params_saved_bytes_total{as="changes",store="/data/params"} 20
persisting_params_saved_bytes_total{as="shared",store="/data/params"} 100
persisting_params_saved_bytes_total{as="whole",store="/data/params"} 3
`
	expect(t, reg, "persisting_params_saved_bytes_total", saved)
	expect(t, reg, "persisting_params_read_bytes_total", `
# HELP persisting_params_read_bytes_total Bytes that were read for callers.
# TYPE persisting_params_read_bytes_total counter
persisting_params_read_bytes_total{operation="load",store="/data/params"} 7
persisting_params_read_bytes_total{operation="pull",store="/data/params"} 5
persisting_params_read_bytes_total{operation="verify",store="/data/params"} 9
`)
	for _, m := range gathered(t, reg)[parametersDuration].Metric {
		want := uint64(0)
		if m.Label[0].GetValue() == string(Save) {
			want = 1
		}
		if n := m.Histogram.GetSampleCount(); n != want {
			t.Errorf("%s was observed %d times, want %d", m.Label[0].GetValue(), n, want)
		}
	}
	want := ParametersStatus{
		Path: "/data/params", ParametersState: state, Saves: 1, SavedBytes: stored, Loads: 1, Loaded: 7, Pulls: 1, Pulled: 50, PullRead: 5,
		Faults: 4, // two of verify, and two loads
	}
	if got := s.AllParameters()[0].Status(); got != want {
		t.Errorf("status %+v\nwant %+v", got, want)
	}
	s.Retain(true)
	p.Close()
	expect(t, reg, "persisting_params_saved_bytes_total", saved)
	expect(t, reg, "persisting_params_versions", `
# HELP persisting_params_versions Versions of all names.
# TYPE persisting_params_versions gauge
persisting_params_versions{store="/data/params"} 0
`)
}

func TestAStoreOfTrajectoriesHasItsOwnSeries(t *testing.T) {
	s, reg := newSet(t)
	state := TrajectoriesState{Open: 1, Ended: 2, OpenSteps: 3, Rows: 10, HotRows: 4, SheetRows: 6, Behind: 9}
	d := s.Trajectories("/data/steps", func() (TrajectoriesState, error) { return state, nil }, nil)
	d.Done(Append, time.Millisecond, "")
	d.Done(Ack, time.Millisecond, Refused)
	d.Done(Tag, time.Millisecond, Storage)
	d.Appended(5, 1)
	d.Sampled(Drawn{Draws: 32, Steps: 256}, 2*time.Second)
	d.RowsRead(512, 12)
	d.Leased(256)
	d.Acked()
	d.Prioritized(11)
	expect(t, reg, "persisting_trajectory_rows", `
# HELP persisting_trajectory_rows Steps and last observations that samplers have in memory (`+"`hot`"+`), and those that they would read from the table (`+"`cold`"+`).
# TYPE persisting_trajectory_rows gauge
persisting_trajectory_rows{store="/data/steps",where="cold"} 6
persisting_trajectory_rows{store="/data/steps",where="hot"} 4
`)
	want := TrajectoriesStatus{
		Path: "/data/steps", TrajectoriesState: state, Appended: 5, Samples: 1, SampleSeconds: 2, Drawn: 256, Hot: 500, Cold: 12,
		Leases: 1, Acks: 1, Prioritized: 11, Faults: 1,
	}
	if got := s.AllTrajectories()[0].Status(); got != want {
		t.Errorf("status %+v\nwant %+v", got, want)
	}
	d.Close()
	for _, f := range Descriptions {
		if f.Of == OfTrajectories && gathered(t, reg)[f.Name] != nil {
			t.Errorf("%s is there after the last store was closed", f.Name)
		}
	}
}

func TestADirectoryThatIsOpenTwiceIsThereOnce(t *testing.T) {
	s, reg := newSet(t)
	look := func() (ParametersState, error) { return ParametersState{Versions: 5, Open: 1, Newest: 7}, nil }
	for range 2 {
		p := s.Parameters("/data/params", look, nil)
		defer p.Close()
		p.Loaded(10)
	}
	for name, want := range map[string]float64{"persisting_params_versions": 5, "persisting_params_open_versions": 2, "persisting_params_newest_timestamp_seconds": 7} {
		if got := gathered(t, reg)[name].Metric[0].Gauge.GetValue(); got != want {
			t.Errorf("%s is %g, want %g", name, got, want)
		}
	}
	if got := gathered(t, reg)[openParameters].Metric[0].Gauge.GetValue(); got != 2 {
		t.Errorf("%g stores are open", got)
	}
}

func TestStoresOfTwoKindsBeyondTheLimitKeepTheirHistograms(t *testing.T) {
	s, reg := newSet(t)
	s.limit = 0 // all are others
	b := s.Store("/kv", func() StoreState { return StoreState{} })
	p := s.Parameters("/params", func() (ParametersState, error) { return ParametersState{}, nil }, nil)
	p.Done(Pull, time.Second, "")
	b.Close()
	sum := 0.0
	for _, m := range gathered(t, reg)[parametersDuration].Metric {
		sum += m.Histogram.GetSampleSum()
	}
	if sum != 1 {
		t.Errorf("the durations of the other kind sum to %g", sum)
	}
	p.Close()
}

func TestASurveyThatTakesLongHoldsNobodyUp(t *testing.T) {
	release, looks := make(chan struct{}), atomic.Int64{}
	v := survey[int64]{look: func() (int64, error) {
		if looks.Add(1) > 1 {
			<-release
		}
		return looks.Load(), nil
	}}
	if got := v.get(); got != 1 {
		t.Fatalf("the first look has found %d", got)
	}
	v.mu.Lock()
	v.until = time.Time{}
	v.mu.Unlock()
	for range 2 {
		if got := v.get(); got != 1 {
			t.Errorf("while a look is under way %d is known", got)
		}
	}
	if n := looks.Load(); n != 2 {
		t.Errorf("%d looks were begun", n)
	}
	close(release)
	v.close()
	if got := v.get(); got != 2 || looks.Load() != 2 {
		t.Errorf("after the end %d is known, of %d looks", got, looks.Load())
	}
}

func TestASurveyThatFailsKeepsWhatIsKnown(t *testing.T) {
	broken := errors.New("broken")
	var told []error
	found, failing := 3, error(nil)
	v := survey[int]{look: func() (int, error) { return found, failing }, fail: func(err error) { told = append(told, err) }}
	if got := v.get(); got != 3 {
		t.Fatalf("it has found %d", got)
	}
	found, failing = 0, broken
	v.mu.Lock()
	v.until = time.Time{}
	v.mu.Unlock()
	if got := v.get(); got != 3 || len(told) != 1 || !errors.Is(told[0], broken) {
		t.Errorf("after a failure %d is known, and %v was told", got, told)
	}
}

func TestASurveyThatFailsIsCounted(t *testing.T) {
	s, _ := newSet(t)
	look := func() (ParametersState, error) { return ParametersState{}, errors.New("no") }
	p := s.Parameters("/data/params", look, func(error) Kind { return Storage })
	if got := p.Status().Faults; got != 1 {
		t.Errorf("%d faults, want that of the survey", got)
	}
	p.Close()
	q := s.Parameters("/data/closing", look, func(error) Kind { return Refused })
	if got := q.Status().Faults; got != 0 {
		t.Errorf("a store that is being closed has %d faults", got)
	}
	q.Close()
}

func TestStoresWithoutMetricsCountNothing(t *testing.T) {
	var p *Parameters
	p.Done(Save, 1, "")
	p.Saved(SavedBytes{})
	p.Loaded(1)
	p.Pulled(1, 1)
	p.Verified(1, 1)
	p.Collected(1, 1)
	p.Close()
	var d *Trajectories
	d.Done(Append, 1, "")
	d.Appended(1, 1)
	d.Sampled(Drawn{}, 1)
	d.RowsRead(1, 1)
	d.Leased(1)
	d.Acked()
	d.Prioritized(1)
	d.Close()
}
