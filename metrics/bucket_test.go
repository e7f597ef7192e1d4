package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

func newSet(t *testing.T) (*Set, *prometheus.Registry) {
	t.Helper()
	s, reg := NewSet("1.2.3", nil), prometheus.NewPedanticRegistry()
	if err := reg.Register(s); err != nil {
		t.Fatal(err)
	}
	return s, reg
}

// with is a state function that gives s.
func with(s State) func() State { return func() State { return s } }

func expect(t *testing.T, reg prometheus.Gatherer, name, want string) {
	t.Helper()
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), name); err != nil {
		t.Error(err)
	}
}

// gathered returns the families by name.
func gathered(t *testing.T, reg prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

func TestEveryMetricIsDescribedAndEveryDescriptionCollected(t *testing.T) {
	s, reg := newSet(t)
	s.Bucket("/data/queue/bucket_0", with(State{}))
	s.Store("/data/kv", func() StoreState { return StoreState{} })
	s.Parameters("/data/params", func() (ParametersState, error) { return ParametersState{}, nil }, nil)
	s.Trajectories("/data/steps", func() (TrajectoriesState, error) { return TrajectoriesState{}, nil }, nil)
	families := gathered(t, reg)
	types := map[Type]dto.MetricType{
		CounterType: dto.MetricType_COUNTER, GaugeType: dto.MetricType_GAUGE, HistogramType: dto.MetricType_HISTOGRAM,
	}
	for _, d := range Descriptions {
		f, ok := families[d.Name]
		if !ok {
			t.Errorf("%s is described and not collected", d.Name)
			continue
		}
		delete(families, d.Name)
		if f.GetType() != types[d.Type] || f.GetHelp() != d.Help {
			t.Errorf("%s is a %s with help %q", d.Name, f.GetType(), f.GetHelp())
		}
		for _, m := range f.Metric {
			var have []string
			for _, l := range m.Label {
				have = append(have, l.GetName())
			}
			if want := slices.Sorted(slices.Values(d.AllLabels())); !slices.Equal(have, want) {
				t.Errorf("%s has the labels %q, want %q", d.Name, have, want)
			}
			if h := m.Histogram; h != nil && (len(h.Bucket) == 0 || h.Schema == nil) {
				t.Errorf("%s is not both a classic and a native histogram", d.Name)
			}
		}
	}
	if len(families) > 0 {
		t.Errorf("collected and not described: %q", slices.Collect(maps.Keys(families)))
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestAScrapeSaysWhatTheSnapshotSays(t *testing.T) {
	s, reg := newSet(t)
	b := s.Bucket("/data/queue/bucket_0", with(State{Puts: 2, PutRecords: 7, PutBytes: 70, PageHits: 3, PageMisses: 1, RetainRows: 9, RetainBytes: 90, Lag: time.Second, Indexes: 2, IndexLag: 9}))
	b.GetDone(5, time.Millisecond)
	b.ReadBytes(50)
	b.FlushDone(2 * time.Second)
	b.CompactionDone(time.Second)
	b.IndexDone(time.Second)
	b.LogWrote(2, 100)
	b.LogSynced(time.Millisecond)
	b.TableWrote(11)
	b.HeldBack(3 * time.Second)
	b.Failed(Put, Schema)
	b.Failed(Flush, Storage)
	b.Failed(Compaction, Schema) // counted as the last kind of a compaction
	b.Recovered(4, 8, 1, 2)
	b.Versions(6)
	n := b.Snapshot()
	if n.LastFlushTime == 0 {
		t.Error("the time of the flush is missing")
	}
	n.LastFlushTime = 0
	want := Snapshot{
		PutCount: 7, PutBytes: 70, Appends: 2, GetCount: 1, RecordsRead: 5, BytesRead: 50,
		FlushCount: 1, FlushSeconds: 2, FlushErrors: 1, CompactionCount: 1, CompactionFails: 1, Errors: 3,
		BytesWritten: 111, Amplification: 111.0 / 70, WALSyncCount: 1, HeldBack: 1, HeldBackSeconds: 3, LagSeconds: 1,
		PageHits: 3, PageMisses: 1, TableVersions: 6, RetainRows: 9, RetainBytes: 90, Indexes: 2, IndexLag: 9, Replayed: 4, TornBytes: 8, Healed: 1, Lost: 2,
	}
	if *n != want {
		t.Errorf("snapshot %+v\nwant %+v", *n, want)
	}
	expect(t, reg, "persisting_records_total", `
# HELP persisting_records_total Records put (acknowledged) and got.
# TYPE persisting_records_total counter
persisting_records_total{bucket="bucket_0",operation="get",topic="/data/queue"} 5
persisting_records_total{bucket="bucket_0",operation="put",topic="/data/queue"} 7
`)
	expect(t, reg, "persisting_backpressure_seconds_total", `
# HELP persisting_backpressure_seconds_total Time that puts were held back because flushes could not keep up.
# TYPE persisting_backpressure_seconds_total counter
persisting_backpressure_seconds_total{bucket="bucket_0",topic="/data/queue"} 3
`)
	f := gathered(t, reg)[flushDuration].Metric[0].Histogram
	if f.GetSampleCount() != 1 || f.GetSampleSum() != 2 {
		t.Errorf("flushes %v", f)
	}
	for _, m := range gathered(t, reg)["persisting_errors_total"].Metric {
		l := map[string]string{}
		for _, p := range m.Label {
			l[p.GetName()] = p.GetValue()
		}
		counted := l["operation"] == "put" && l["kind"] == "schema" || l["operation"] == "flush" && l["kind"] == "storage" || l["operation"] == "compaction" && l["kind"] == "storage"
		if (m.Counter.GetValue() == 1) != counted {
			t.Errorf("errors %v: %v", l, m.Counter.GetValue())
		}
	}
}

func TestBucketsBeyondTheLimitShareSeries(t *testing.T) {
	s, reg := newSet(t)
	s.limit = 2
	one := s.Bucket("/a/one", with(State{PutRecords: 1, Lag: 9 * time.Second}))
	s.Bucket("/a/two", with(State{PutRecords: 2}))
	three := s.Bucket("/a/three", with(State{PutRecords: 4, BufferRows: 4, Lag: 3 * time.Second}))
	four := s.Bucket("/b/four", with(State{PutRecords: 8, BufferRows: 8, Lag: 5 * time.Second}))
	three.GetDone(1, time.Millisecond)
	four.GetDone(1, time.Millisecond)
	const head = "\n# HELP persisting_records_total Records put (acknowledged) and got.\n# TYPE persisting_records_total counter\n"
	const single = `persisting_records_total{bucket="one",operation="get",topic="/a"} 0
persisting_records_total{bucket="one",operation="put",topic="/a"} 1
persisting_records_total{bucket="two",operation="get",topic="/a"} 0
persisting_records_total{bucket="two",operation="put",topic="/a"} 2
`
	together := head + `persisting_records_total{bucket="other",operation="get",topic="other"} 2
persisting_records_total{bucket="other",operation="put",topic="other"} 12
` + single
	expect(t, reg, "persisting_records_total", together)
	expect(t, reg, "persisting_lag_seconds", `
# HELP persisting_lag_seconds Age of the oldest record that is not yet in Lance, 0 if there is none.
# TYPE persisting_lag_seconds gauge
persisting_lag_seconds{bucket="one",topic="/a"} 9
persisting_lag_seconds{bucket="other",topic="other"} 5
persisting_lag_seconds{bucket="two",topic="/a"} 0
`)
	if three.Snapshot().PutCount != 4 || three.Status().Path != "/a/three" {
		t.Errorf("a bucket beyond the limit has lost its own numbers: %+v", three.Snapshot())
	}
	four.Close()
	expect(t, reg, "persisting_records_total", together) // a counter never falls
	three.Close()
	expect(t, reg, "persisting_records_total", head+single)
	one.Close()
	s.Bucket("/a/five", with(State{}))
	if n := len(s.groups); n != 2 || s.groups[OfBucket.other()] != nil {
		t.Errorf("%d groups; a place that became free is not used", n)
	}
}

func TestWriteAmplification(t *testing.T) {
	s, reg := newSet(t)
	s.limit = 1
	s.Bucket("/a/one", with(State{}))
	for i, put := range []int64{100, 300} {
		b := s.Bucket("/b/more", with(State{PutBytes: put}))
		b.LogWrote(1, put)
		b.TableWrote(int64(i) * 400)
	}
	expect(t, reg, "persisting_write_amplification", `
# HELP persisting_write_amplification Bytes written per byte put, since the bucket was opened; 0 before the first put.
# TYPE persisting_write_amplification gauge
persisting_write_amplification{bucket="one",topic="/a"} 0
persisting_write_amplification{bucket="other",topic="other"} 2
`)
}

func TestNothingIsLeftOfAClosedBucket(t *testing.T) {
	s, reg := newSet(t)
	before := slices.Sorted(maps.Keys(gathered(t, reg)))
	b := s.Bucket("/a/one", with(State{PutRecords: 3}))
	b.FlushDone(time.Second)
	b.Close()
	b.Close()
	b.FlushDone(time.Second) // a late end is harmless
	if after := slices.Sorted(maps.Keys(gathered(t, reg))); !slices.Equal(before, after) {
		t.Errorf("families before %q, after %q", before, after)
	}
}

func TestRetainedBucketsGoOnCounting(t *testing.T) {
	s, reg := newSet(t)
	s.Retain(true)
	for range 2 {
		b := s.Bucket("/a/one", with(State{PutRecords: 3, BufferRows: 2}))
		b.FlushDone(time.Second)
		b.Close()
	}
	families := gathered(t, reg)
	flushes := families[flushDuration].Metric[0].Histogram.GetSampleCount()
	if flushes != 2 {
		t.Errorf("%d flushes in the histogram", flushes)
	}
	expect(t, reg, "persisting_records_total", `
# HELP persisting_records_total Records put (acknowledged) and got.
# TYPE persisting_records_total counter
persisting_records_total{bucket="one",operation="get",topic="/a"} 0
persisting_records_total{bucket="one",operation="put",topic="/a"} 6
`)
	expect(t, reg, "persisting_buffer_size", `
# HELP persisting_buffer_size Records acknowledged and not yet in Lance.
# TYPE persisting_buffer_size gauge
persisting_buffer_size{bucket="one",topic="/a"} 0
`)
	s.Retain(false)
	if gathered(t, reg)[flushDuration] != nil {
		t.Error("series are left")
	}
}

func TestScrapesWhileBucketsOpenAndClose(t *testing.T) {
	s, reg := newSet(t)
	s.limit = 3
	var writers, scrapers sync.WaitGroup
	done := make(chan struct{})
	for _, name := range []string{"/a/1", "/a/2", "/a/3", "/a/4", "/a/5"} {
		writers.Go(func() {
			for range 100 {
				b := s.Bucket(name, with(State{PutRecords: 1}))
				b.GetDone(1, time.Microsecond)
				b.Failed(Get, NotFound)
				b.Close()
			}
		})
	}
	for range 2 {
		scrapers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	scrapers.Wait()
	if len(s.groups) > 0 {
		t.Errorf("groups are left: %v", s.groups)
	}
}

func TestABucketWithoutMetricsCountsNothing(t *testing.T) {
	var b *Bucket
	b.PutDone(1)
	b.GetDone(1, 1)
	b.ReadBytes(1)
	b.FlushDone(1)
	b.CompactionDone(1)
	b.IndexDone(1)
	b.Failed(Put, Schema)
	b.HeldBack(1)
	b.LogWrote(1, 1)
	b.LogSynced(1)
	b.TableWrote(1)
	b.Versions(1)
	b.Recovered(1, 1, 1, 1)
	b.Close()
	if b.Snapshot() != nil {
		t.Error("there is a snapshot")
	}
}
