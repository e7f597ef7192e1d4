package lance

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/lancedb/lancedb-go/pkg/contracts"
)

// listing gives the files below dir that can matter: not the hint at the newest
// version, which Lance does without.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "latest_version_hint.json" {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestChangedFiles(t *testing.T) {
	table := create(t, ids)
	before := must(t)(table.Snapshot())
	compare := func(step string, before, after *Snapshot, was []string) {
		t.Helper()
		changed, err := ChangedFiles(before, after)
		if err != nil {
			t.Fatal(err)
		}
		if last := changed[len(changed)-1]; !strings.HasSuffix(last, ".manifest") {
			t.Errorf("%s: %s is last", step, last)
		}
		now := listing(t, table.Dir())
		for _, name := range now {
			// The transaction of a version in between is of no use afterwards.
			passing := strings.HasPrefix(name, "_transactions/") && after.Version() > before.Version()+1
			if !passing && !slices.Contains(was, name) && !slices.Contains(changed, name) {
				t.Errorf("%s: %s is new and not named", step, name)
			}
		}
		for _, name := range changed {
			if !slices.Contains(now, name) || slices.Contains(was, name) {
				t.Errorf("%s: %s is named and not new", step, name)
			}
		}
	}
	if files, err := ChangedFiles(nil, before); err != nil || !slices.Equal(slices.Sorted(slices.Values(files)), listing(t, table.Dir())) {
		t.Fatalf("create: %v, %v", files, err)
	}

	for _, step := range []struct {
		name string
		do   func() (*Snapshot, error)
	}{
		{"append", func() (*Snapshot, error) { return table.Append([]arrow.Record{rows(t, 0, 10)}) }},
		{"append again", func() (*Snapshot, error) { return table.Append([]arrow.Record{rows(t, 10, 20)}) }},
		{"two appends", func() (*Snapshot, error) {
			appendRows(t, table, 20, 30)
			return table.Append([]arrow.Record{rows(t, 30, 40)})
		}},
		{"add columns", func() (*Snapshot, error) {
			return table.AddColumns([]arrow.Field{{Name: "x", Type: i64, Nullable: true}}, arrow.Metadata{})
		}},
		{"cast", func() (*Snapshot, error) { return table.CastColumn("x", arrow.Field{Type: f64, Nullable: true}) }},
		{"compact", func() (*Snapshot, error) { s, _, err := table.Compact(CompactOptions{}); return s, err }},
		{"index", func() (*Snapshot, error) {
			if err := table.table.CreateIndex(context.Background(), []string{"i"}, contracts.IndexTypeBTree); err != nil {
				return nil, err
			}
			return table.Snapshot()
		}},
		{"delete", func() (*Snapshot, error) {
			if err := table.table.Delete(context.Background(), "i = 15"); err != nil {
				return nil, err
			}
			return table.Snapshot()
		}},
	} {
		was := listing(t, table.Dir())
		after := must(t)(step.do())
		compare(step.name, before, after, was)
		if same, err := ChangedFiles(after, after); err != nil || len(same) != 0 {
			t.Errorf("%s: nothing changed, and %v, %v", step.name, same, err)
		}
		before = after
	}
}

// Rows that something else deleted are missing in reads, not others in their
// place.
func TestDeletedRows(t *testing.T) {
	table := create(t, ids)
	for i := range int64(4) {
		appendRows(t, table, i*10, i*10+10)
	}
	if err := table.table.Delete(context.Background(), "i in (0, 5, 15, 16, 39)"); err != nil {
		t.Fatal(err)
	}
	check := func(s *Snapshot) {
		t.Helper()
		want := slices.DeleteFunc(span(0, 40), func(i int64) bool { return slices.Contains([]int64{0, 5, 15, 16, 39}, i) })
		if got := ints(readAll(t, s, 0, 100, nil, 7)); !slices.Equal(got, want) {
			t.Fatalf("got %v", got)
		}
		if got := ints(readAll(t, s, 14, 5, nil, 0)); !slices.Equal(got, []int64{14, 17, 18}) {
			t.Fatalf("got %v", got)
		}
		rec, err := s.Take([]int64{38, 17, 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer rec.Release()
		if got := ints([]arrow.Record{rec}); !slices.Equal(got, []int64{38, 17, 1}) {
			t.Fatalf("took %v", got)
		}
		for _, gone := range [][]int64{{15}, {14, 15}, {3, 15, 16}} {
			if _, err := s.Take(gone, nil); !errors.Is(err, ErrRowNotFound) {
				t.Fatalf("take %v: %v", gone, err)
			}
		}
	}
	deleted := must(t)(table.Snapshot())
	check(deleted)
	if deleted.Rows() != 35 || deleted.NextRowID() != 40 {
		t.Fatalf("%+v", deleted.info)
	}
	s, _, err := table.Compact(CompactOptions{})
	merged := must(t)(s, err)
	if merged.Fragments() != 1 {
		t.Fatalf("%+v", merged.info)
	}
	check(merged)
	added := must(t)(table.CastColumn("i", arrow.Field{Type: i64, Nullable: true, Metadata: tags}))
	check(added)
}

// TestUnfinished sees the file that an append is making while it makes it.
func TestUnfinished(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "t.lance")
	table := createIn(t, dir, ids, Config{})
	batch := rows(t, 0, 100_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			snapshot, err := table.Append([]arrow.Record{batch})
			if err != nil {
				t.Error(err)
				return
			}
			snapshot.Release()
		}
	}()
	seen := false
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			seen = seen || len(Unfinished(dir)) > 0
		}
	}
	if left := Unfinished(dir); !seen || len(left) > 0 {
		t.Errorf("seen while it was written: %v; left: %v", seen, left)
	}
}
