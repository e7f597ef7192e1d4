package lance

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

var f64 = arrow.PrimitiveTypes.Float64

// fill makes a table with the columns i, x, s and the values of x in several
// fragments, one of them out of order.
func fill(t *testing.T, x arrow.Field, values string) *Table {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{ids.Field(0), x, ids.Field(1)}, nil)
	table := create(t, schema)
	column, _, err := array.FromJSON(alloc, x.Type, strings.NewReader(values), array.WithUseNumber())
	if err != nil {
		t.Fatal(err)
	}
	defer column.Release()
	n := int64(column.Len())
	for at := range n {
		r := rows(t, at, at+1)
		cell := array.NewSlice(column, at, at+1)
		rec := array.NewRecord(schema, []arrow.Array{r.Column(0), cell, r.Column(1)}, 1)
		must(t)(table.Append([]arrow.Record{rec}))
		rec.Release()
		cell.Release()
	}
	return table
}

func TestCastColumn(t *testing.T) {
	field := func(name string, t arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: t, Nullable: true}
	}
	point := arrow.StructOf(field("a", i64))
	pointAndMore := arrow.StructOf(field("b", text), field("a", f64))
	for name, c := range map[string]struct {
		from   arrow.DataType
		values string
		to     arrow.DataType
		want   string // the values, or "" when the cast is refused with err
		err    error
	}{
		"int64 to float64":      {i64, `[1, null, -9007199254740992]`, f64, `[1, null, -9007199254740992]`, nil},
		"int64 beyond 2^53":     {i64, `[1, 9007199254740993]`, f64, "", ErrInexact},
		"int8 to int64":         {arrow.PrimitiveTypes.Int8, `[-128, 127]`, i64, `[-128, 127]`, nil},
		"int64 to uint64":       {i64, `[0, 9223372036854775807]`, arrow.PrimitiveTypes.Uint64, `[0, 9223372036854775807]`, nil},
		"negative to uint64":    {i64, `[0, -1]`, arrow.PrimitiveTypes.Uint64, "", ErrInexact},
		"uint64 beyond int64":   {arrow.PrimitiveTypes.Uint64, `[18446744073709551615]`, i64, "", ErrInexact},
		"float32 to float64":    {f32, `[1.5, -0.0]`, f64, `[1.5, -0.0]`, nil},
		"float64 to int64":      {f64, `[1, 2.5]`, i64, "", ErrInexact},
		"null to text":          {arrow.Null, `[null, null]`, text, `[null, null]`, nil},
		"null to list":          {arrow.Null, `[null, null]`, arrow.ListOf(i64), `[null, null]`, nil},
		"text to large text":    {text, `["a", null]`, arrow.BinaryTypes.LargeString, `["a", null]`, nil},
		"list of ints":          {arrow.ListOf(i64), `[[1, null], null, []]`, arrow.ListOf(f64), `[[1, null], null, []]`, nil},
		"list beyond 2^53":      {arrow.ListOf(i64), `[[1], [9007199254740993]]`, arrow.ListOf(f64), "", ErrInexact},
		"list to large list":    {arrow.ListOf(i64), `[[1], null]`, arrow.LargeListOf(f64), `[[1], null]`, nil},
		"vector":                {arrow.FixedSizeListOf(2, i64), `[[1, 2], null]`, arrow.FixedSizeListOf(2, f64), `[[1, 2], null]`, nil},
		"vector to list":        {arrow.FixedSizeListOf(2, i64), `[[1, 2], null]`, arrow.ListOf(i64), `[[1, 2], null]`, nil},
		"struct":                {point, `[{"a": 1}, null]`, pointAndMore, `[{"a": 1, "b": null}, null]`, nil},
		"list of structs":       {arrow.ListOf(point), `[[{"a": 1}], null]`, arrow.ListOf(pointAndMore), `[[{"a": 1, "b": null}], null]`, nil},
		"struct loses a field":  {pointAndMore, `[{"a": 1, "b": "x"}]`, point, "", ErrSchema},
		"int64 to bool":         {i64, `[0, 2]`, arrow.FixedWidthTypes.Boolean, "", ErrInexact},
		"int64 to list":         {i64, `[0]`, arrow.FixedSizeListOf(3, text), "", ErrSchema},
		"to what is not stored": {i64, `[0]`, arrow.BinaryTypes.StringView, "", ErrSchema},
		"no rows":               {i64, `[]`, text, `[]`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			table := fill(t, field("x", c.from), c.values)
			before := must(t)(table.Snapshot())
			to := field("ignored", c.to)
			to.Metadata = tags
			s, err := table.CastColumn("x", to)
			if c.err != nil {
				if !errors.Is(err, c.err) {
					t.Fatalf("%v, want %v", err, c.err)
				}
				if now := must(t)(table.Snapshot()); now.Version() != before.Version() || !now.Schema().Equal(before.Schema()) {
					t.Fatalf("a refused cast made version %d with %s", now.Version(), now.Schema())
				}
				return
			}
			after := must(t)(s, err)
			if after.Version() != before.Version()+1 || after.NextRowID() != before.NextRowID() || after.Rows() != before.Rows() {
				t.Fatalf("before %+v, after %+v", before.info, after.info)
			}
			to.Name = "x"
			want := arrow.NewSchema([]arrow.Field{ids.Field(0), to, ids.Field(1)}, nil)
			if !after.Schema().Equal(want) {
				t.Fatalf("schema %s\ninstead of %s", after.Schema(), want)
			}
			checkColumn(t, after, c.to, c.want)
			checkColumn(t, before, c.from, c.values)

			m, _, err := table.Compact(CompactOptions{MinFragments: 2})
			checkColumn(t, must(t)(m, err), c.to, c.want)
			closeTable(t, table)
			checkColumn(t, must(t)(open(t, table.Dir()).Snapshot()), c.to, c.want)
		})
	}
}

// checkColumn expects the values of column x, in order, beside their row ids.
func checkColumn(t *testing.T, s *Snapshot, dt arrow.DataType, values string) {
	t.Helper()
	want, _, err := array.FromJSON(alloc, dt, strings.NewReader(values), array.WithUseNumber())
	if err != nil {
		t.Fatal(err)
	}
	defer want.Release()
	records := readAll(t, s, 0, 100, nil, 0)
	if got := ints(records); !slices.Equal(got, span(0, int64(want.Len()))) {
		t.Fatalf("rows %v", got)
	}
	if len(records) == 0 {
		return
	}
	var columns []arrow.Array
	for _, r := range records {
		columns = append(columns, r.Column(1))
	}
	got, err := array.Concatenate(columns, alloc)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	if !array.Equal(got, want) {
		t.Fatalf("%s\ninstead of %s", got, want)
	}
}

func TestCastRefuses(t *testing.T) {
	table := fill(t, jsonField("x"), `["1"]`)
	for name, err := range map[string]error{
		"unknown column": second(castAndRelease(table, "nope", arrow.Field{Type: f64, Nullable: true})),
		"from json":      second(castAndRelease(table, "x", arrow.Field{Type: text, Nullable: true})),
		"to json":        second(castAndRelease(table, "s", jsonField("s"))),
		"to required":    second(castAndRelease(table, "s", arrow.Field{Type: arrow.BinaryTypes.LargeString})),
	} {
		if !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAddColumns(t *testing.T) {
	table := create(t, ids)
	appendRows(t, table, 0, 10)
	before := must(t)(table.Snapshot())
	x := arrow.Field{Name: "x.y", Type: arrow.ListOf(f64), Nullable: true, Metadata: tags}
	y := arrow.Field{Name: "y", Type: arrow.StructOf(arrow.Field{Name: "a", Type: i64}), Nullable: true}
	after := must(t)(table.AddColumns([]arrow.Field{x, y}, arrow.Metadata{}))
	if after.DataBytes() != before.DataBytes() || after.Version() != before.Version()+1 {
		t.Fatalf("before %+v, after %+v", before.info, after.info)
	}
	want := arrow.NewSchema(append(ids.Fields(), x, y), nil)
	if !after.Schema().Equal(want) {
		t.Fatalf("schema %s", after.Schema())
	}
	if !before.Schema().Equal(ids) {
		t.Fatalf("the version before got the schema %s", before.Schema())
	}
	appendRows(t, table, 10, 12)
	s, _, err := table.Compact(CompactOptions{MinFragments: 2})
	s = must(t)(s, err)
	for _, r := range readAll(t, s, 0, 12, nil, 0) {
		if r.Column(2).NullN() != int(r.NumRows()) || r.Column(3).NullN() != int(r.NumRows()) {
			t.Fatalf("an added column is %s", r.Column(2))
		}
	}
	for name, fields := range map[string][]arrow.Field{
		"there already": {{Name: "i", Type: text, Nullable: true}},
		"twice":         {{Name: "a", Type: text, Nullable: true}, {Name: "a", Type: text, Nullable: true}},
		"required":      {{Name: "a", Type: text}},
		"not storable":  {{Name: "a", Type: arrow.BinaryTypes.StringView, Nullable: true}},
	} {
		if _, err := table.AddColumns(fields, arrow.Metadata{}); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if none := must(t)(table.AddColumns(nil, arrow.Metadata{})); none.Version() != s.Version() {
		t.Errorf("no columns made version %d", none.Version())
	}
}

// A change of columns that a compaction overtakes is made again on top of it.
func TestColumnsBesideCompaction(t *testing.T) {
	table := create(t, ids)
	for i := range int64(20) {
		appendRows(t, table, i*500, i*500+500)
	}
	done := make(chan error)
	go func() {
		s, _, err := table.Compact(CompactOptions{MinFragments: 2})
		if err == nil {
			s.Release()
		}
		done <- err
	}()
	for n := range 10 {
		name := string(rune('A' + n))
		must(t)(table.AddColumns([]arrow.Field{{Name: name, Type: i64, Nullable: true}}, arrow.Metadata{}))
		must(t)(table.CastColumn(name, arrow.Field{Type: f64, Nullable: true}))
	}
	if err := <-done; err != nil && !errors.Is(err, ErrConflict) {
		t.Fatal(err)
	}
	s := must(t)(table.Snapshot())
	if s.Schema().NumFields() != 12 || s.Schema().Field(11).Type != f64 {
		t.Fatalf("schema %s", s.Schema())
	}
	checkIDs(t, s, 10_000)
}
