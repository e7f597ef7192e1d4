package bucket

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

func query(t *testing.T, b *Bucket, text string) []int64 {
	t.Helper()
	q, err := table.ParseQuery([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Query(q, nil)
	return ids(t, c, err)
}

func TestQuerySeesWhatIsAcknowledgedAndNoMore(t *testing.T) {
	b := open(t, t.TempDir(), quiet())
	c, err := b.Query(table.Query{Filter: "id = 1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if schema, _ := c.Schema(); schema.NumFields() != 0 {
		t.Fatalf("an empty bucket has %v", schema)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	appendRows(t, b, 10)
	if got := query(t, b, `{"filter": "id > 6 AND text != 'row 8'"}`); !slices.Equal(got, []int64{7, 9}) {
		t.Fatalf("got %v", got)
	}
	c, err = b.Query(table.Query{Filter: "id >= 8"}, nil)
	appendRows(t, b, 10)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, c, err); !slices.Equal(got, []int64{8, 9}) {
		t.Fatalf("an older query got %v", got)
	}
	if n, err := b.Count("id >= 8"); n != 12 || err != nil {
		t.Fatalf("counted %d, %v", n, err)
	}
	got := query(t, b, `{"order_by": [{"column": "id", "descending": true}], "limit": 2, "offset": 3, "columns": ["id"]}`)
	if !slices.Equal(got, []int64{16, 15}) {
		t.Fatalf("ordered: %v", got)
	}
}

// Fragments are in another order than their rows after a compaction that ran
// beside a flush.
func TestAnswersComeByOffsetWhateverTheOrderOfFragments(t *testing.T) {
	b := open(t, t.TempDir(), quiet())
	for range 8 {
		appendRows(t, b, 100)
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() { done <- b.Compact() }()
	var err error
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		default:
			appendRows(t, b, 1)
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	want := make([]int64, b.Acknowledged())
	for i := range want {
		want[i] = int64(i)
	}
	if got := query(t, b, `{"filter": "id >= 0"}`); !slices.Equal(got, want) {
		t.Fatalf("got %v", got)
	}
	if got := query(t, b, `{"limit": 5, "offset": 797}`); !slices.Equal(got, want[797:802]) {
		t.Fatalf("page %v, want %v", got, want[797:802])
	}
}

func TestIndexesFollowTheRows(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, quiet())
	appendRows(t, b, 1000)
	if err := b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}); err != nil {
		t.Fatal(err)
	}
	appendRows(t, b, 50)
	covered := func(indexed, unindexed int64) {
		t.Helper()
		indexes, err := b.Indexes()
		if err != nil || len(indexes) != 1 {
			t.Fatalf("indexes %v, %v", indexes, err)
		}
		if i := indexes[0]; i.RowsIndexed != indexed || i.RowsUnindexed != unindexed || i.Name != "id_idx" {
			t.Fatalf("%+v, want %d rows and %d without", i, indexed, unindexed)
		}
	}
	if got := query(t, b, `{"filter": "id in (3, 1049)"}`); !slices.Equal(got, []int64{3, 1049}) {
		t.Fatalf("got %v", got)
	}
	covered(1000, 50)
	if err := b.Compact(); err != nil {
		t.Fatal(err)
	}
	covered(1050, 0)
	appendRows(t, b, table.IndexRows)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the background work extends the index", func() bool {
		indexes, err := b.Indexes()
		return err == nil && indexes[0].RowsUnindexed == 0
	})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, quiet())
	covered(1050+table.IndexRows, 0)
	plan, err := b.Explain(table.Query{Filter: "id = 3"}, nil)
	if err != nil || !strings.Contains(plan, "ScalarIndexQuery") {
		t.Fatalf("plan %s, %v", plan, err)
	}
}

func TestCloseDoesNotWaitForTheBuildOfAnIndex(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, quiet())
	appendRows(t, b, 1000)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	b.table.Stop() // as Close does, but before the build begins
	if err := b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}); !errors.Is(err, engine.ErrClosed) {
		t.Fatalf("a build that was cancelled: %v", err)
	}
	appendRows(t, b, 10)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, quiet())
	wantRows(t, b, 1010)
	if indexes, err := b.Indexes(); err != nil || len(indexes) > 0 {
		t.Fatalf("indexes %v, %v", indexes, err)
	}
	if err := b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}); err != nil {
		t.Fatal(err)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	b := open(t, t.TempDir(), quiet())
	appendRows(t, b, 10)
	spec := func(s table.IndexSpec) func() error { return func() error { return b.CreateIndex(s) } }
	ask := func(q table.Query, vector ...float64) func() error {
		return func() error {
			_, err := b.Query(q, vector)
			if _, explained := b.Explain(q, vector); (explained == nil) != (err == nil) {
				return fmt.Errorf("query says %w, explain says %w", err, explained)
			}
			return err
		}
	}
	negative := int64(-1)
	for name, test := range map[string]struct {
		call  func() error
		class error
		text  string
	}{
		"filter":     {ask(table.Query{Filter: "id ="}), engine.ErrInvalid, "found: EOF"},
		"column":     {ask(table.Query{Filter: "x = 1"}), engine.ErrInvalid, `The columns are ["id" "text"]`},
		"projection": {ask(table.Query{Columns: []string{"x"}}), engine.ErrInvalid, `no column "x"`},
		"limit":      {ask(table.Query{Limit: &negative}), engine.ErrInvalid, "limit -1"},
		"order":      {ask(table.Query{OrderBy: []lance.Order{{Column: "x"}}}), engine.ErrInvalid, `no column "x"`},
		"vector":     {ask(table.Query{Search: &lance.Search{Columns: []string{"id"}, K: 1}}, 1), engine.ErrInvalid, "fixed_size_list"},
		"search":     {ask(table.Query{Search: &lance.Search{K: 1}}), engine.ErrInvalid, "needs a column"},
		"index type": {spec(table.IndexSpec{Column: "id", Type: "x"}), engine.ErrInvalid, "there are btree"},
		"index name": {func() error { return b.DropIndex("x") }, engine.ErrNoIndex, `"x"`},
		"statistics": {func() error { _, err := b.IndexStatistics("x"); return err }, engine.ErrNoIndex, `"x"`},
		"member":     {func() error { _, err := table.ParseQuery([]byte(`{"where": 1}`)); return err }, engine.ErrInvalid, `"where"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.call()
			if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("%v, want %v with %q", err, test.class, test.text)
			}
		})
	}
	wantRows(t, b, 10)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"query":   ask(table.Query{}),
		"count":   func() error { _, err := b.Count(""); return err },
		"create":  spec(table.IndexSpec{Column: "id", Type: "btree"}),
		"drop":    func() error { return b.DropIndex("x") },
		"indexes": func() error { _, err := b.Indexes(); return err },
	} {
		if err := call(); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("%s of a closed bucket: %v", name, err)
		}
	}
}
