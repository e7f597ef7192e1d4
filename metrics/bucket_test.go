package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func constant(v float64) func() float64 { return func() float64 { return v } }

func TestCollectorsFollowTheBucket(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	gauges := Gauges{BufferRows: constant(1), WALBytes: constant(2), Fragments: constant(3), Rows: constant(4)}
	one, other := NewBucket("/one", gauges), NewBucket("/other", gauges)
	for _, b := range []*Bucket{one, other} {
		if err := b.Register(reg); err != nil {
			t.Fatal(err)
		}
	}
	if err := NewBucket("/one", gauges).Register(reg); err == nil {
		t.Fatal("two buckets have one path")
	}
	one.RecordsPut.Add(7)
	one.Flushed(time.Second)
	const want = `
# HELP persisting_records_total Records put into and read from the bucket.
# TYPE persisting_records_total counter
persisting_records_total{operation="get",path="/one"} 0
persisting_records_total{operation="put",path="/one"} 7
persisting_records_total{operation="get",path="/other"} 0
persisting_records_total{operation="put",path="/other"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "persisting_records_total"); err != nil {
		t.Fatal(err)
	}
	if s := one.Snapshot(); s.PutCount != 7 || s.FlushCount != 1 || s.FlushSeconds != 1 || s.LastFlushTime == 0 {
		t.Fatalf("snapshot %+v", s)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Fatalf("lint: %v, %v", problems, err)
	}
	one.Close()
	other.Close()
	if families, err := reg.Gather(); err != nil || len(families) > 0 {
		t.Fatalf("%d families are left, %v", len(families), err)
	}
}
