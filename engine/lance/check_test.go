package lance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// dataFiles returns the data files of damaged, the oldest first.
func dataFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data", "*.lance"))
	if err != nil || len(files) == 0 {
		t.Fatalf("data files %v, %v", files, err)
	}
	slices.SortFunc(files, func(a, b string) int {
		return statFile(t, a).ModTime().Compare(statFile(t, b).ModTime())
	})
	return files
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	dir, manifests := damaged(t)
	files := dataFiles(t, dir)
	before := tree(t, dir)
	state := look(t, dir, true)
	if len(state.Versions) != 4 || state.Head() != state.Newest() || state.Head() != &state.Versions[0] {
		t.Fatalf("%+v", state)
	}
	head := state.Head()
	if head.Number != 4 || head.NextRowID != 30 || head.Rows != 30 || !head.Checked || head.Bytes == 0 {
		t.Fatalf("%+v", state)
	}
	if filepath.Join(dir, head.Manifest) != manifests[0] || state.Versions[1].Checked || state.Versions[1].NextRowID != 20 {
		t.Fatalf("%+v", state.Versions)
	}
	if age := time.Since(time.Unix(*head.Seconds, 0)); age < 0 || age > time.Minute {
		t.Fatalf("the head is %s old", age)
	}
	if len(state.Fragments) != 3 {
		t.Fatalf("fragments %+v", state.Fragments)
	}
	for i, f := range state.Fragments {
		if f.ID != uint64(i) || !slices.Equal(f.Rows, [][2]int64{{int64(i) * 10, int64(i)*10 + 10}}) || f.Bytes == 0 ||
			filepath.Join(dir, "data", f.Files[0]) != files[i] {
			t.Fatalf("fragment %d: %+v", i, f)
		}
	}
	if state := look(t, dir, false); len(state.Fragments) != 0 {
		t.Fatalf("unasked: %+v", state.Fragments)
	}

	remove(t, files[1])
	state = look(t, dir, true)
	if v := state.Newest(); v.Number != 4 || v.Sound() || !v.Mendable() || len(v.Flaws) != 1 || v.Flaws[0].What != "is missing" ||
		filepath.Join(dir, v.Flaws[0].File) != files[1] || !slices.Equal(v.Flaws[0].Rows, [][2]int64{{10, 20}}) {
		t.Fatalf("%+v", v)
	}
	if head := state.Head(); head.Number != 2 || head.NextRowID != 10 {
		t.Fatalf("%+v", head)
	}
	delete(before, files[1])
	if after := tree(t, dir); !mapsEqual(after, before) {
		t.Fatalf("changed: %v, was %v", after, before)
	}
}

// tree returns the content and the time of all files and directories.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found[path] = statFile(t, path).ModTime().String() + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestCheckTornManifest(t *testing.T) {
	dir, manifests := damaged(t)
	edit(t, manifests[0], func(b []byte) []byte { return b[:len(b)/2] })
	state := look(t, dir, false)
	if v := state.Versions[0]; v.Torn == nil || v.Number != 4 || v.Checked || v.Mendable() {
		t.Fatalf("%+v", v)
	}
	if state.Newest().Number != 3 || state.Head().Number != 3 {
		t.Fatalf("%+v", state)
	}
}

func TestCheckTo(t *testing.T) {
	dir, manifests := damaged(t)
	edit(t, manifests[0], func([]byte) []byte { return nil })
	state, err := Check(dir, CheckOptions{Newest: 2, Layout: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range state.Versions {
		if v.Above != (i < 2) || v.Torn != nil || v.Sound() != (i >= 2) || v.Checked != (i == 2) {
			t.Errorf("%+v", v)
		}
	}
	if state.Head().Number != 2 || state.Newest() != state.Head() || len(state.Fragments) != 1 {
		t.Fatalf("%+v", state)
	}
}

func TestCheckNothing(t *testing.T) {
	state := look(t, filepath.Join(t.TempDir(), "none.lance"), true)
	if len(state.Versions) != 0 || state.Head() != nil || state.Newest() != nil {
		t.Fatalf("%+v", state)
	}
	if _, err := Check("/tmp/not a table", CheckOptions{}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("not a table's name: %v", err)
	}
}

// optional is ids with columns that may be null, as those of buckets are.
var optional = arrow.NewSchema([]arrow.Field{
	{Name: "v", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32), Nullable: true},
	{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "l", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true}), Nullable: true},
}, nil)

func appendOptional(t *testing.T, table *Table, from, to int64) {
	t.Helper()
	b := array.NewRecordBuilder(alloc, optional)
	defer b.Release()
	for i := from; i < to; i++ {
		v := b.Field(0).(*array.FixedSizeListBuilder)
		v.Append(true)
		v.ValueBuilder().(*array.Float32Builder).AppendValues([]float32{1, 2, 3}, nil)
		b.Field(1).(*array.Int64Builder).Append(i)
		s := b.Field(2).(*array.StructBuilder)
		s.Append(true)
		l := s.FieldBuilder(0).(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.StringBuilder).Append("x")
	}
	r := b.NewRecord()
	defer r.Release()
	must(t)(table.Append([]arrow.Record{r}))
}

// wantOptional reads all rows and expects those of lost to be null in all
// columns, and the others whole.
func wantOptional(t *testing.T, s *Snapshot, n int64, lost func(i int64) bool) {
	t.Helper()
	i := int64(0)
	for _, r := range readAll(t, s, 0, n+10, nil, 0) {
		for row := range int(r.NumRows()) {
			for c := range int(r.NumCols()) {
				if r.Column(c).IsNull(row) != lost(i) {
					t.Fatalf("row %d: column %d is %s", i, c, r.Column(c).ValueStr(row))
				}
			}
			if got := r.Column(1).(*array.Int64); !lost(i) && got.Value(row) != i {
				t.Fatalf("row %d is %d", i, got.Value(row))
			}
			i++
		}
	}
	if i != n {
		t.Fatalf("%d rows, want %d", i, n)
	}
}

// spoilt makes a table of three appends of 10 rows and closes it.
func spoilt(t *testing.T, change func(*Table)) (dir string, files []string) {
	t.Helper()
	table := create(t, optional)
	for i := range int64(3) {
		appendOptional(t, table, i*10, i*10+10)
	}
	if change != nil {
		change(table)
	}
	closeTable(t, table)
	return table.Dir(), dataFiles(t, table.Dir())
}

func TestMend(t *testing.T) {
	for name, c := range map[string]struct {
		gone, short []int // files
	}{
		"the first is gone":    {gone: []int{0}},
		"the second is short":  {short: []int{1}},
		"all but one are gone": {gone: []int{0, 2}},
		"none is left":         {gone: []int{0, 2}, short: []int{1}},
		"nothing is wrong":     {},
	} {
		t.Run(name, func(t *testing.T) {
			dir, files := spoilt(t, nil)
			for _, i := range c.gone {
				remove(t, files[i])
			}
			for _, i := range c.short {
				edit(t, files[i], func(b []byte) []byte { return b[:len(b)-1] })
			}
			if aside, err := Mend(dir, 4); err != nil || len(aside) != 0 {
				t.Fatalf("%v, %v", aside, err)
			}
			lost := func(i int64) bool {
				return slices.Contains(c.gone, int(i/10)) || slices.Contains(c.short, int(i/10))
			}
			state := look(t, dir, false)
			if head := state.Head(); head != &state.Versions[0] || head.NextRowID != 30 || head.Rows != 30 {
				t.Fatalf("%+v", state)
			}
			s, err := OpenVersion(dir, state.Head().Number)
			if err != nil {
				t.Fatal(err)
			}
			wantOptional(t, s, 30, lost)
			s.Release()

			if aside, err := heal(dir); err != nil || aside != nil {
				t.Fatalf("%v, %v", aside, err)
			}
			table := open(t, dir)
			appendOptional(t, table, 30, 35)
			wantOptional(t, must(t)(table.Snapshot()), 35, lost)
			m, _, err := table.Compact(CompactOptions{MinFragments: 2})
			merged := must(t)(m, err)
			wantOptional(t, merged, 35, lost)
			if _, err := table.Cleanup(merged.Version()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A column that has a file of its own is the only one that a missing file costs.
func TestMendOneColumn(t *testing.T) {
	to := arrow.Field{Name: "i", Type: arrow.PrimitiveTypes.Float64, Nullable: true}
	dir, files := spoilt(t, func(table *Table) { must(t)(table.CastColumn("i", to)) })
	state := look(t, dir, true)
	if len(state.Fragments[0].Files) != 2 || len(files) != 6 {
		t.Fatalf("%+v", state.Fragments)
	}
	remove(t, filepath.Join(dir, "data", state.Fragments[0].Files[1]))
	if _, err := Mend(dir, state.Newest().Number); err != nil {
		t.Fatal(err)
	}
	records := readAll(t, must(t)(open(t, dir).Snapshot()), 0, 30, nil, 0)
	for _, r := range records {
		if r.Column(0).NullN() != 0 || r.Column(2).NullN() != 0 {
			t.Fatalf("%v", r)
		}
	}
	if got := records[0].Column(1); got.NullN() != 10 || got.IsValid(0) || got.Len() > 10 && got.IsNull(10) {
		t.Fatalf("%v", got)
	}
}

func TestMendSetsNewerVersionsAside(t *testing.T) {
	dir, files := spoilt(t, nil)
	state := look(t, dir, false)
	head := state.Newest().Manifest
	edit(t, filepath.Join(dir, head), func([]byte) []byte { return nil })
	remove(t, files[0])
	aside, err := Mend(dir, 3)
	if err != nil || len(aside) != 1 || aside[0] != head+".corrupt" {
		t.Fatalf("%v, %v", aside, err)
	}
	state = look(t, dir, false)
	if state.Head().Number != 4 || state.Head().NextRowID != 20 {
		t.Fatalf("%+v", state)
	}
}

func TestMendRefuses(t *testing.T) {
	dir, _ := spoilt(t, nil)
	if _, err := Mend(dir, 17); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no such version: %v", err)
	}
	if _, err := Mend(filepath.Join(t.TempDir(), "no.lance"), 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no table: %v", err)
	}
	dir, _ = damaged(t)
	remove(t, dataFile(t, dir))
	before := tree(t, dir)
	if _, err := Mend(dir, 4); !errors.Is(err, ErrSchema) {
		t.Errorf("a required column: %v", err)
	}
	if !mapsEqual(tree(t, dir), before) {
		t.Error("a refused mend changed something")
	}
}

func look(t *testing.T, dir string, layout bool) State {
	t.Helper()
	state, err := Check(dir, CheckOptions{Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	return state
}
