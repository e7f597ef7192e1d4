package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/prometheus/client_golang/prometheus"
)

// scraped returns the value of each series of the bucket whose labels, but topic
// and bucket, are joined by commas, by "name" or "name{labels}".
func scraped(t *testing.T, set *metrics.Set) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(set)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				if l.GetName() != "topic" && l.GetName() != "bucket" {
					labels = append(labels, l.GetValue())
				}
			}
			name := strings.TrimPrefix(f.GetName(), "persisting_")
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.Counter != nil:
				all[name] = m.Counter.GetValue()
			case m.Gauge != nil:
				all[name] = m.Gauge.GetValue()
			case m.Histogram != nil:
				all[name] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return all
}

func compare(t *testing.T, have, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if got, ok := have[name]; !ok || got != v {
			t.Errorf("%s is %v, want %v", name, got, v)
		}
	}
}

func TestIndexLagIsTheRowsThatAnIndexLacks(t *testing.T) {
	set := metrics.NewSet("", nil)
	o := quiet(func(o *options.Options) { o.Metrics = set })
	dir := t.TempDir()
	b := open(t, dir, o)
	expect := func(indexes, lag float64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%v indexes that lag by %v rows are seen", indexes, lag), func() bool {
			now := scraped(t, set)
			return now["indexes"] == indexes && now["index_lag_rows"] == lag
		})
	}
	appendRows(t, b, 10)
	expect(0, 0)
	for _, column := range []string{"id", "text"} {
		if err := b.CreateIndex(table.IndexSpec{Column: column, Type: "btree"}); err != nil {
			t.Fatal(err)
		}
	}
	expect(2, 0)
	appendRows(t, b, 30)
	expect(2, 0) // not in the table yet
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	expect(2, 30)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, o)
	expect(2, 30)
	if err := b.Compact(); err != nil {
		t.Fatal(err)
	}
	expect(2, 0)
	compare(t, scraped(t, set), map[string]float64{"operations_total{index}": 1, "index_duration_seconds": 1, "errors_total{storage,index}": 0})
	if err := b.CreateIndex(table.IndexSpec{Column: "no", Type: "btree"}); err == nil {
		t.Fatal("an index of a column that is not there")
	}
	compare(t, scraped(t, set), map[string]float64{"errors_total{invalid,index}": 1})
	if err := b.DropIndex("id_idx"); err != nil {
		t.Fatal(err)
	}
	expect(1, 0)
}

func TestMetricsFollowTheLifeOfABucket(t *testing.T) {
	set := metrics.NewSet("", nil)
	o := quiet(func(o *options.Options) { o.Metrics = set; o.CacheBytes = 1 << 20 })
	dir := t.TempDir()
	b := open(t, dir, o)
	for range metrics.PutSample + 1 {
		appendRows(t, b, 10)
	}
	read := func(offset, count int64, want error) {
		t.Helper()
		c, err := b.Read(offset, count, false)
		if !errors.Is(err, want) {
			t.Fatalf("read: %v, want %v", err, want)
		}
		if err == nil {
			for rec, err := c.Next(); err == nil; rec, err = c.Next() {
				rec.Release()
			}
			_ = c.Close()
		}
	}
	read(0, 10, nil)
	read(-1, 1, engine.ErrNotFound)
	if _, err := b.Take([]int64{999}, true); !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	compare(t, scraped(t, set), map[string]float64{
		"operations_total{put}": 17, "records_total{put}": 170, "put_duration_seconds": 2, "rows": 170,
		"operations_total{get}": 1, "records_total{get}": 10, "get_duration_seconds": 1,
		"errors_total{not_found,get}": 2, "buffer_size": 170, "fragments": 0, "table_versions": 0,
		"open_buckets": 1, "recovery_duration_seconds": 1, "poisoned": 0,
	})
	now := scraped(t, set)
	for _, name := range []string{"lag_seconds", "buffer_bytes", "wal_size_bytes", "wal_segments", "record_bytes_total{put}", "record_bytes_total{get}", "written_bytes_total{wal}", "memory_bytes{buffer}"} {
		if now[name] <= 0 {
			t.Errorf("%s is %v", name, now[name])
		}
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	all := someRows(t, 0, 170) // joined
	defer all.Release()
	now = scraped(t, set)
	compare(t, now, map[string]float64{
		"operations_total{flush}": 1, "flush_duration_seconds": 1, "buffer_size": 0, "lag_seconds": 0,
		"memory_bytes{buffer}": 0, "memory_bytes{recent}": float64(batch.RowBytes(all)), "fragments": 1,
	})
	if now["table_versions"] < 1 || now["written_bytes_total{table}"] < now["table_size_bytes"] || now["table_size_bytes"] <= 0 {
		t.Errorf("the table has %v versions and %v bytes of %v written", now["table_versions"], now["table_size_bytes"], now["written_bytes_total{table}"])
	}
	appendRows(t, b, 1)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(); err != nil {
		t.Fatal(err)
	}
	compare(t, scraped(t, set), map[string]float64{"operations_total{compaction}": 1, "compaction_duration_seconds": 1})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, o)
	read(0, 1, nil)
	read(1, 1, nil)
	compare(t, scraped(t, set), map[string]float64{
		"records_total{put}": 0, "rows": 171, "page_cache_reads_total{miss}": 1, "page_cache_reads_total{hit}": 1,
		"replayed_records_total": 0, "recovery_duration_seconds": 2,
	})
	if _, err := Open(dir, o); KindOf(err) != metrics.Locked {
		t.Fatal(err)
	}
	compare(t, scraped(t, set), map[string]float64{"open_errors_total{locked}": 1, "open_buckets": 1})
}

func TestRemovedRowsAreNotCounted(t *testing.T) {
	set := metrics.NewSet("", nil)
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.Metrics = set }))
	appendRows(t, b, 10)
	if _, err := b.Delete("id < 4"); err != nil {
		t.Fatal(err)
	}
	c, err := b.Read(0, 10, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	compare(t, scraped(t, set), map[string]float64{"rows": 6, "records_total{put}": 10, "records_total{get}": 6})
}

func TestPutsThatAreHeldBackAreTimed(t *testing.T) {
	set := metrics.NewSet("", nil)
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.Metrics = set; o.FlushBytes = 1 << 10 }))
	for range 4 {
		appendRows(t, b, 1000)
	}
	now := scraped(t, set)
	if now["backpressure_waits_total"] < 1 || now["backpressure_seconds_total"] <= 0 {
		t.Errorf("%v waits of %v s", now["backpressure_waits_total"], now["backpressure_seconds_total"])
	}
}

func TestScrapesWaitForNoDisk(t *testing.T) {
	set := metrics.NewSet("", nil)
	var stuck atomic.Bool
	wait, held := make(chan struct{}), make(chan struct{}, 100)
	hook := &faultfs.Hook{FS: vfs.OS, Before: func(faultfs.Op) error {
		if stuck.Load() {
			select {
			case held <- struct{}{}:
			default:
			}
			<-wait
		}
		return nil
	}}
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.Metrics, o.FS, o.WALSyncInterval = set, hook, 0 }))
	appendRows(t, b, 10)
	stuck.Store(true)
	var busy sync.WaitGroup
	release := sync.OnceFunc(func() { close(wait); busy.Wait() })
	defer release()
	scrape := func(rows float64) {
		t.Helper()
		<-held
		done := make(chan map[string]float64, 1)
		go func() { done <- scraped(t, set) }()
		select {
		case now := <-done:
			compare(t, now, map[string]float64{"rows": rows, "open_buckets": 1})
		case <-time.After(10 * time.Second):
			t.Fatal("a scrape waits for the disk")
		}
	}
	busy.Go(func() { // flushes the rows, and then those that were put
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
	})
	scrape(10)
	rec := someRows(t, 10, 1)
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	if err != nil {
		t.Fatal(err)
	}
	busy.Go(func() {
		if err := b.Wait(background, end); err != nil {
			t.Error(err)
		}
	})
	scrape(10) // a row that is not synced is not acknowledged
	busy.Go(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the bucket closes", b.closing.Load)
	held <- struct{}{}
	scrape(10)
	release()
	compare(t, scraped(t, set), map[string]float64{"open_buckets": 0})
}

func TestNothingWaitsForAScrape(t *testing.T) {
	set := metrics.NewSet("", nil)
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.Metrics = set }))
	readings := make(chan prometheus.Metric)
	done := make(chan struct{})
	go func() { set.Collect(readings); close(done) }()
	<-readings
	appendRows(t, b, 10)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	c, err := b.Read(0, 10, false)
	if got := ids(t, c, err); len(got) != 10 {
		t.Errorf("%d rows", len(got))
	}
	for {
		select {
		case <-readings:
		case <-done:
			return
		}
	}
}

func TestThePoisonedBucketSaysSo(t *testing.T) {
	set := metrics.NewSet("", nil)
	var text bytes.Buffer
	b := open(t, t.TempDir(), quiet(func(o *options.Options) {
		o.Metrics = set
		o.Logger = slog.New(slog.NewTextHandler(&text, nil))
	}))
	appendRows(t, b, 1)
	_ = b.home.Refuse(errors.New("the disk is gone"))
	if _, _, err := b.Append(Record{Rows: someRows(t, 1, 1)}, false); !errors.Is(err, engine.ErrPoisoned) {
		t.Fatal(err)
	}
	if err := b.Flush(); !errors.Is(err, engine.ErrPoisoned) {
		t.Fatal(err)
	}
	compare(t, scraped(t, set), map[string]float64{"poisoned": 1, "errors_total{poisoned,put}": 1, "records_total{put}": 1})
	if !strings.Contains(text.String(), "the disk is gone") {
		t.Errorf("log: %s", text.String())
	}
	if err := b.Close(); !errors.Is(err, engine.ErrPoisoned) {
		t.Fatal(err)
	}
}

func TestWorkIsLoggedWithItsDuration(t *testing.T) {
	var text bytes.Buffer
	b := open(t, t.TempDir(), quiet(func(o *options.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}))
	appendRows(t, b, 1)
	if err := errors.Join(b.Flush(), b.Compact()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"msg=opened", `msg="flush done"`, `msg="compaction done"`, "operation=flush asked=true took="} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, text.String())
		}
	}
}
