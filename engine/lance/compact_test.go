package lance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/lancedb/lancedb-go/pkg/contracts"
)

func TestCompactMergesSmallFragments(t *testing.T) {
	table := create(t, ids)
	for i := range int64(10) {
		appendRows(t, table, i*10, i*10+10)
	}
	before := must(t)(table.Snapshot())
	s, stats, err := table.Compact(CompactOptions{})
	after := must(t)(s, err)
	if stats.FragmentsRemoved != 10 || stats.FragmentsAdded != 1 || stats.BytesRead != before.DataBytes() || stats.More {
		t.Fatalf("stats %+v", stats)
	}
	if after.Fragments() != 1 || after.Rows() != 100 || after.NextRowID() != 100 {
		t.Fatalf("after: %+v", after.info)
	}
	checkIDs(t, after, 100)
	checkIDs(t, before, 100)

	s, stats, err = table.Compact(CompactOptions{})
	if again := must(t)(s, err); again.Version() != after.Version() || stats != (CompactStats{}) {
		t.Fatalf("a second compaction made version %d, %+v", again.Version(), stats)
	}
	checkIDs(t, appendRows(t, table, 100, 120), 120)
}

func TestCompactOptions(t *testing.T) {
	table := create(t, ids)
	for i := range int64(12) {
		appendRows(t, table, i*10, i*10+10)
	}
	start := must(t)(table.Snapshot())
	one := start.DataBytes() / 12
	for _, c := range []struct {
		name    string
		options CompactOptions
		want    int
		more    bool
	}{
		{"too few", CompactOptions{MinFragments: 13}, 12, false},
		{"all at their target", CompactOptions{TargetBytes: one}, 12, false},
		{"only so much", CompactOptions{TargetBytes: one * 3, MinFragments: 2, MaxBytes: one * 4}, 10, true},
		{"the rest", CompactOptions{TargetBytes: one * 1000, MinFragments: 2}, 1, false},
	} {
		s, stats, err := table.Compact(c.options)
		if got := must(t)(s, err); got.Fragments() != c.want || stats.More != c.more {
			t.Fatalf("%s: %d fragments, %+v", c.name, got.Fragments(), stats)
		}
		checkIDs(t, must(t)(table.Snapshot()), 120)
	}
	if _, _, err := table.Compact(CompactOptions{TargetBytes: -1}); err == nil {
		t.Error("a negative size is taken")
	}
}

// A compaction gets higher fragment ids than what is appended while it runs, so
// that Lance lists the later rows first.
func TestAppendDuringCompaction(t *testing.T) {
	table := create(t, ids)
	var next int64
	add := func(n int64) {
		appendRows(t, table, next, next+n)
		next += n
	}
	for range 12 {
		add(2000)
	}
	outOfOrder := 0
	for range 5 {
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, _, err := table.Compact(CompactOptions{MinFragments: 2})
			if err != nil {
				t.Error(err)
				return
			}
			s.Release()
		}()
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for running := true; running; {
			add(7)
			select {
			case <-done:
				running = false
			default:
			}
		}
		s := must(t)(table.Snapshot())
		if !slices.IsSorted(listed(t, table)) {
			outOfOrder++
		}
		checkIDs(t, s, next)
		rec, err := s.Take([]int64{next - 1, 0, next / 2}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := ints([]arrow.Record{rec}); !slices.Equal(got, []int64{next - 1, 0, next / 2}) {
			t.Fatalf("took %v", got)
		}
		rec.Release()
	}
	if outOfOrder == 0 {
		t.Error("no compaction put fragments out of order: the test proves nothing")
	}
	for n := range int64(3) {
		add(next / (n + 1)) // as many rows each time, so that a merge of all pays
	}
	s, _, err := table.Compact(CompactOptions{})
	after := must(t)(s, err)
	if after.Fragments() != 1 {
		t.Fatalf("%d fragments", after.Fragments())
	}
	if !slices.Equal(listed(t, table), span(0, next)) {
		t.Fatal("what was merged is out of order")
	}
	checkIDs(t, after, next)
}

// listed gives the rows of the newest version in the order that Lance itself
// scans them.
func listed(t *testing.T, table *Table) []int64 {
	t.Helper()
	found, err := table.table.Select(context.Background(), contracts.QueryConfig{Columns: []string{"i"}})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int64, len(found))
	for i, row := range found {
		out[i] = int64(row["i"].(float64))
	}
	return out
}

// What an index covers is not merged with what it does not, and stays covered.
func TestCompactWithIndex(t *testing.T) {
	table := create(t, ids)
	add := func(from, to int64) {
		for i := from; i < to; i++ {
			appendRows(t, table, i*100, i*100+100)
		}
	}
	add(0, 5)
	if err := table.table.CreateIndex(context.Background(), []string{"i"}, contracts.IndexTypeBTree); err != nil {
		t.Fatal(err)
	}
	add(5, 10)
	s, stats, err := table.Compact(CompactOptions{})
	merged := must(t)(s, err)
	if merged.Fragments() != 2 || stats.FragmentsRemoved != 10 {
		t.Fatalf("%+v, %+v", merged.info, stats)
	}
	checkIDs(t, merged, 1000)
	for _, row := range []int{7, 444, 999} {
		found, err := table.table.SelectWithFilter(context.Background(), fmt.Sprint("i = ", row))
		if err != nil || len(found) != 1 || found[0]["s"] != fmt.Sprint("row ", row) {
			t.Fatalf("row %d: %v, %v", row, found, err)
		}
	}
	indexes, err := table.table.GetAllIndexes(context.Background())
	if err != nil || len(indexes) != 1 {
		t.Fatalf("indexes %v, %v", indexes, err)
	}
	checkIDs(t, appendRows(t, table, 1000, 1001), 1001)
	if _, err := table.CastColumn("i", arrow.Field{Type: f64}); !errors.Is(err, ErrSchema) {
		t.Fatalf("cast of a column with an index: %v", err)
	}
}

func TestSnapshotsSurviveCompactionAndCleanup(t *testing.T) {
	table := create(t, ids)
	var old []*Snapshot
	for i := range int64(8) {
		old = append(old, appendRows(t, table, i*100, i*100+100))
	}
	s, _, err := table.Compact(CompactOptions{})
	after := must(t)(s, err)
	stats, err := table.Cleanup(after.Version())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Versions != 2 { // the empty one, and the one that reserves fragment ids
		t.Errorf("removed %+v while 8 snapshots are held", stats)
	}
	for i, s := range old {
		checkIDs(t, s, int64(i)*100+100)
	}
}

func TestCleanup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "t.lance")
	table := createIn(t, dir, ids, Config{})
	for i := range int64(8) {
		s, err := table.Append([]arrow.Record{rows(t, i*100, i*100+100)})
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
	}
	s, _, err := table.Compact(CompactOptions{})
	after := must(t)(s, err)
	rubbish := filepath.Join(dir, "data", "00000000-0000-4000-8000-000000000000.lance")
	if err := os.WriteFile(rubbish, []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	stats, err := table.Cleanup(after.Version())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Versions != 10 || stats.Files < 9 || stats.Bytes == 0 {
		t.Errorf("removed %+v", stats)
	}
	count := func(sub string) int {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if n := count("data"); n != 1 {
		t.Errorf("%d data files are left", n)
	}
	checkIDs(t, after, 800)
	if stats, err := table.Cleanup(1 << 62); err != nil || stats.Versions != 0 {
		t.Errorf("the newest version went: %+v, %v", stats, err)
	}
	closeTable(t, table)
	again := open(t, dir)
	checkIDs(t, must(t)(again.Snapshot()), 800)
	checkIDs(t, appendRows(t, again, 800, 900), 900)
}

// Clean-up takes what no version refers to, and must not take what an append in
// progress has written.
func TestCleanupBesideAppends(t *testing.T) {
	table := create(t, ids)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range int64(60) {
			s, err := table.Append([]arrow.Record{rows(t, i*50, i*50+50)})
			if err != nil {
				t.Error(err)
				return
			}
			s.Release()
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		s, _, err := table.Compact(CompactOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Cleanup(s.Version()); err != nil {
			t.Fatal(err)
		}
		s.Release()
	}
	checkIDs(t, must(t)(table.Snapshot()), 3000)
}
