package bucket

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/options"
)

// texts reads a column of all rows that are left, as texts; "-" is null.
func texts(t testing.TB, b *Bucket, name string) []string {
	t.Helper()
	c, err := b.Read(0, 1<<40, false)
	must(t, err)
	defer c.Close()
	schema, _ := c.Schema()
	got := []string{}
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		must(t, err)
		values := rec.Column(schema.FieldIndices(name)[0])
		for i := range values.Len() {
			if values.IsNull(i) {
				got = append(got, "-")
			} else {
				got = append(got, strings.Clone(values.ValueStr(i)))
			}
		}
		rec.Release()
	}
}

func names(b *Bucket) (names []string) {
	schema, _ := b.Schema()
	for _, f := range schema.Fields() {
		names = append(names, f.Name)
	}
	return names
}

func wantColumn(t testing.TB, b *Bucket, name string, want ...string) {
	t.Helper()
	if got := texts(t, b, name); !slices.Equal(got, want) {
		t.Fatalf("column %q has %q, want %q", name, got, want)
	}
}

// one is a record of one row and column.
func one(name string, kind arrow.DataType, text string) arrow.Record {
	return pairs([]arrow.Field{nullable(name, kind)}, func(r *array.RecordBuilder) {
		if err := r.Field(0).AppendValueFromString(text); err != nil {
			panic(err) // the test made the text
		}
	})
}

func TestColumnsChangeInOldRowsAndNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 2)
	must(t, b.Flush())
	appendRows(t, b, 1) // in the tail, and in the log

	value := one("five", arrow.PrimitiveTypes.Int32, "5")
	defer value.Release()
	must(t, b.Columns().Fill(value))
	must(t, b.Columns().Compute(arrow.Field{Name: "twice"}, "id * 2"))
	must(t, b.Columns().Add([]arrow.Field{nullable("nothing", arrow.BinaryTypes.String)}))
	must(t, b.Columns().Rename("text", "a.b"))
	must(t, b.Columns().Cast(arrow.Field{Name: "id", Type: arrow.PrimitiveTypes.Float64}))
	must(t, b.Columns().Drop("five"))

	rec := pairs([]arrow.Field{nullable("id", arrow.PrimitiveTypes.Float64), nullable("a.b", arrow.BinaryTypes.String)}, func(r *array.RecordBuilder) {
		r.Field(0).(*array.Float64Builder).Append(0.5)
		r.Field(1).(*array.StringBuilder).Append("new")
	})
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	must(t, err)
	must(t, b.Wait(background, end))
	for _, b := range []*Bucket{b, open(t, crash(t, dir), quiet())} {
		if got, want := names(b), []string{"id", "a.b", "twice", "nothing"}; !slices.Equal(got, want) {
			t.Fatalf("columns %q, want %q", got, want)
		}
		wantColumn(t, b, "id", "0", "1", "2", "0.5")
		wantColumn(t, b, "a.b", "row 0", "row 1", "row 2", "new")
		wantColumn(t, b, "twice", "0", "2", "4", "-")
		wantColumn(t, b, "nothing", "-", "-", "-", "-")
	}
}

func TestChangesOfColumnsAreRefused(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
	appendRows(t, b, 3)
	value := one("id", arrow.PrimitiveTypes.Int32, "5")
	defer value.Release()
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"drop what is not there":    {func() error { return b.Columns().Drop("x") }, `there are ["id" "text"]`},
		"rename what is not there":  {func() error { return b.Columns().Rename("x", "y") }, `there are ["id" "text"]`},
		"rename to what is there":   {func() error { return b.Columns().Rename("id", "text") }, "is there already, as utf8"},
		"rename to a reserved name": {func() error { return b.Columns().Rename("id", "_persisting_x") }, "reserved"},
		"add what is there":         {func() error { return b.Columns().Fill(value) }, "is there already, as int64"},
		"cast what is not there":    {func() error { return b.Columns().Cast(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int8}) }, "there are"},
		"cast what does not fit":    {func() error { return b.Columns().Cast(arrow.Field{Name: "text", Type: arrow.PrimitiveTypes.Int8}) }, "is utf8 and holds values that int8 cannot hold"},
		"cast to what cannot be": {func() error {
			return b.Columns().Cast(arrow.Field{Name: "id", Type: arrow.ListOf(arrow.PrimitiveTypes.Int8)})
		}, "cannot become list"},
		"compute what does not fit":  {func() error { return b.Columns().Compute(nullable("x", arrow.PrimitiveTypes.Int8), "id * 1000") }, "cannot hold all values"},
		"compute from what is wrong": {func() error { return b.Columns().Compute(arrow.Field{Name: "x"}, "id +") }, "expression"},
		"compute from what is not":   {func() error { return b.Columns().Compute(arrow.Field{Name: "x"}, "nope + 1") }, "nope"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do()
			var schema *engine.SchemaError
			var expression *engine.ExpressionError
			if !errors.As(err, &schema) && !errors.As(err, &expression) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	must(t, b.Columns().Drop("text"))
	if err := b.Columns().Drop("id"); err == nil || !strings.Contains(err.Error(), "only column") {
		t.Fatal(err)
	}
	more := one("id", arrow.PrimitiveTypes.Int64, "3")
	defer more.Release()
	_, end, err := b.Append(Record{Rows: more}, false)
	must(t, err)
	must(t, b.Wait(background, end))
	wantColumn(t, b, "id", "0", "1", "2", "3")
}

func TestKeysThatAreNullFollowTheirColumn(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
	rec := pairs([]arrow.Field{nullable("a", arrow.PrimitiveTypes.Int64), nullable("b", arrow.PrimitiveTypes.Int64), nullable(batch.UntypedColumn, arrow.BinaryTypes.String)}, func(r *array.RecordBuilder) {
		for _, text := range []string{`{"a":null}`, `{"a":null,"b":[]}`} {
			r.Field(0).AppendNull()
			r.Field(1).(*array.Int64Builder).Append(1)
			r.Field(2).(*array.StringBuilder).Append(text)
		}
	})
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	must(t, err)
	must(t, b.Wait(background, end))
	must(t, b.Columns().Rename("a", "c"))
	wantColumn(t, b, batch.UntypedColumn, `{"c":null}`, `{"b":[],"c":null}`)
	must(t, b.Columns().Drop("c"))
	wantColumn(t, b, batch.UntypedColumn, "-", `{"b":[]}`)
}

func TestRowsOutliveAllColumnsThatTheyHad(t *testing.T) {
	for name, untyped := range map[string]bool{"with keys": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
			put := func(name, text string) {
				t.Helper()
				rec := one(name, arrow.BinaryTypes.String, text)
				defer rec.Release()
				_, end, err := b.Append(Record{Rows: rec}, false)
				must(t, err)
				must(t, b.Wait(background, end))
				must(t, b.Flush())
			}
			put("a", "1")
			put("b", "2")
			if untyped {
				put(batch.UntypedColumn, `{"a":null}`)
			} else {
				put("c", "3")
			}
			must(t, b.Columns().Drop("a"))
			wantColumn(t, b, "b", "-", "2", "-")
			put("d", "4")
			must(t, b.Columns().Drop("b"))
			must(t, b.Compact())
			wantColumn(t, b, "d", "-", "-", "-", "4")
		})
	}
}

func TestDeclaredColumns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	declared := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, nullable("text", arrow.BinaryTypes.String), nullable("more", arrow.PrimitiveTypes.Int32)}, nil)
	must(t, b.Columns().Declare(declared))
	must(t, b.Columns().Declare(declared))
	appendRows(t, b, 2)
	refused := func(rec arrow.Record, want string) {
		t.Helper()
		defer rec.Release()
		_, _, err := b.Append(Record{Rows: rec}, false)
		var schema *engine.SchemaError
		if !errors.As(err, &schema) || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %q", err, want)
		}
	}
	refused(one("new", arrow.PrimitiveTypes.Int64, "1"), `add_column("new", "int64") would allow it`)
	refused(one("more", arrow.PrimitiveTypes.Int64, "1"), `cast_column("more", "int64") would allow it`)
	refused(one("text", arrow.BinaryTypes.String, "1"), `column "id": was declared as not nullable and 1 of 1 rows have no value`)
	refused(pairs([]arrow.Field{nullable("id", arrow.PrimitiveTypes.Int64)}, func(r *array.RecordBuilder) { r.Field(0).AppendNull() }), "1 of 1 rows have no value")
	must(t, b.Columns().Add([]arrow.Field{nullable("new", arrow.PrimitiveTypes.Int64)}))
	must(t, b.Columns().Rename("more", "other"))
	rec := pairs([]arrow.Field{nullable("id", arrow.PrimitiveTypes.Int64), nullable("new", arrow.PrimitiveTypes.Int64), nullable("other", arrow.PrimitiveTypes.Int32)}, func(r *array.RecordBuilder) {
		for i := range 3 {
			must(t, r.Field(i).AppendValueFromString("7"))
		}
	})
	defer rec.Release()
	_, end, err := b.Append(Record{Rows: rec}, false)
	must(t, err)
	must(t, b.Wait(background, end))
	must(t, b.Close())

	again := open(t, dir, quiet())
	err = again.Columns().Declare(arrow.NewSchema([]arrow.Field{nullable("id", arrow.BinaryTypes.String)}, nil))
	if err == nil || !strings.Contains(err.Error(), `is int64 and was declared as utf8; cast_column("id", "utf8") would allow it`) {
		t.Fatal(err)
	}
	wantColumn(t, again, "other", "-", "-", "7")
}

func TestReadersKeepTheColumnsThatTheyBeganWith(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet(func(o *options.Options) { o.CacheBytes = 0 }))
	appendRows(t, b, 40000)
	must(t, b.Flush())
	before, err := b.Read(0, 40000, false)
	must(t, err)
	must(t, b.Columns().Rename("id", "number"))
	must(t, b.Columns().Drop("text"))
	removed, err := b.Delete("number % 2 = 0")
	must(t, err)
	must(t, b.Compact())
	if removed != 20000 {
		t.Fatalf("%d rows removed", removed)
	}
	if got := ids(t, before, nil); len(got) != 40000 {
		t.Fatalf("a reader that began before has %d rows", len(got))
	}
	if got := texts(t, b, "number"); len(got) != 20000 || got[1] != "3" {
		t.Fatalf("%d rows, %q", len(got), got[:2])
	}
}

func TestAddingAColumnRewritesNoFile(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
	appendRows(t, b, 1000)
	must(t, b.Flush())
	files := func() (names []string) {
		paths, err := filepath.Glob(filepath.Join(b.table.Path(), "data", "*"))
		must(t, err)
		return paths
	}
	before := files()
	must(t, b.Columns().Add([]arrow.Field{nullable("x", arrow.PrimitiveTypes.Int64)}))
	if got := files(); !slices.Equal(got, before) {
		t.Fatalf("a null column wrote %q", got)
	}
	value := one("y", arrow.PrimitiveTypes.Int64, "5")
	defer value.Release()
	must(t, b.Columns().Fill(value))
	after := files()
	if len(after) != len(before)+1 || !slices.Contains(after, before[0]) {
		t.Fatalf("a filled column left %q of %q", after, before)
	}
	wantRows(t, b, 1000)
	if got := texts(t, b, "y"); got[0] != "5" || got[999] != "5" {
		t.Fatalf("%q and %q", got[0], got[999])
	}
}
