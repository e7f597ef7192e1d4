package metrics

import (
	"testing"
	"time"
)

func TestAStoreHasItsOwnSeries(t *testing.T) {
	s, reg := newSet(t)
	b := s.Bucket("/data/kv", with(State{Rows: 3}))
	state := StoreState{Hits: 3, Absent: 2, Sets: 4, Full: 1, WrittenBytes: 100, MovedBytes: 25, Keys: 9, CapacityBytes: 1000, QueuedLoads: 5}
	store := s.Store("/data/kv", func() StoreState { return state })
	store.LoadDone(time.Second)
	store.SetDone(time.Second)
	loads := `
# HELP persisting_kv_loads_total Blocks asked for, by what came of it.
# TYPE persisting_kv_loads_total counter
persisting_kv_loads_total{result="absent",store="/data/kv"} 2
persisting_kv_loads_total{result="damaged",store="/data/kv"} 0
persisting_kv_loads_total{result="failed",store="/data/kv"} 0
persisting_kv_loads_total{result="hit",store="/data/kv"} 3
persisting_kv_loads_total{result="late",store="/data/kv"} 0
persisting_kv_loads_total{result="length",store="/data/kv"} 0
`
	expect(t, reg, "persisting_kv_loads_total", loads)
	expect(t, reg, "persisting_kv_write_amplification", `
# HELP persisting_kv_write_amplification Bytes written per byte set, since the store was opened; 0 before the first.
# TYPE persisting_kv_write_amplification gauge
persisting_kv_write_amplification{store="/data/kv"} 1.25
`)
	families := gathered(t, reg)
	for _, name := range []string{kvLoadDuration, kvSetDuration} {
		if n := families[name].Metric[0].Histogram.GetSampleCount(); n != 1 {
			t.Errorf("%s has %d observations", name, n)
		}
	}
	if got := len(s.Buckets()) + len(s.Stores()); got != 2 || s.Stores()[0].Status().Keys != 9 || s.Stores()[0].Status().Path != "/data/kv" {
		t.Errorf("%d open, %+v", got, s.Stores())
	}
	s.Retain(true)
	store.Close()
	expect(t, reg, "persisting_kv_loads_total", loads)
	s.Retain(false)
	families = gathered(t, reg)
	for _, d := range Descriptions {
		if d.Of == OfBlocks && families[d.Name] != nil {
			t.Errorf("%s is there after the last store was closed", d.Name)
		}
	}
	if families["persisting_rows"].Metric[0].Gauge.GetValue() != 3 {
		t.Error("the bucket of the same path has lost its series")
	}
	b.Close()
}

func TestStoresBeyondTheLimitShareSeries(t *testing.T) {
	s, reg := newSet(t)
	s.limit = 1
	s.Bucket("/a/one", with(State{})) // buckets take no place from stores
	for _, path := range []string{"/kv/0", "/kv/1", "/kv/2"} {
		s.Store(path, func() StoreState { return StoreState{Keys: 5} })
	}
	expect(t, reg, "persisting_kv_keys", `
# HELP persisting_kv_keys Blocks in the store.
# TYPE persisting_kv_keys gauge
persisting_kv_keys{store="/kv/0"} 5
persisting_kv_keys{store="other"} 10
`)
}

func TestAStoreWithoutMetricsCountsNothing(t *testing.T) {
	var s *Store
	s.LoadDone(1)
	s.SetDone(1)
	s.Close()
}
