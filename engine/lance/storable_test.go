package lance

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

func listOf(name string, t arrow.DataType, nullable bool) arrow.DataType {
	return arrow.ListOfField(arrow.Field{Name: name, Type: t, Nullable: nullable})
}

func meta(pairs ...string) arrow.Metadata {
	var keys, values []string
	for i := 0; i < len(pairs); i += 2 {
		keys, values = append(keys, pairs[i]), append(values, pairs[i+1])
	}
	return arrow.NewMetadata(keys, values)
}

var (
	i64  = arrow.PrimitiveTypes.Int64
	f32  = arrow.PrimitiveTypes.Float32
	text = arrow.BinaryTypes.String
	tags = meta("unit", "µm", "ARROW:extension:name", "my.type", "ARROW:extension:metadata", `{"a":1}`, "empty", "")
)

// storable are fields with values, as JSON, that must survive.
var storable = map[string]struct {
	field  arrow.Field
	values string
}{
	"bool":         {arrow.Field{Type: arrow.FixedWidthTypes.Boolean}, `[true, null, false]`},
	"int8":         {arrow.Field{Type: arrow.PrimitiveTypes.Int8}, `[-128, null, 127]`},
	"int16":        {arrow.Field{Type: arrow.PrimitiveTypes.Int16}, `[-32768, null, 32767]`},
	"int32":        {arrow.Field{Type: arrow.PrimitiveTypes.Int32}, `[-2147483648, null, 2147483647]`},
	"int64":        {arrow.Field{Type: i64}, `[-9223372036854775808, null, 9223372036854775807]`},
	"uint8":        {arrow.Field{Type: arrow.PrimitiveTypes.Uint8}, `[0, null, 255]`},
	"uint16":       {arrow.Field{Type: arrow.PrimitiveTypes.Uint16}, `[0, null, 65535]`},
	"uint32":       {arrow.Field{Type: arrow.PrimitiveTypes.Uint32}, `[0, null, 4294967295]`},
	"uint64":       {arrow.Field{Type: arrow.PrimitiveTypes.Uint64}, `[0, null, 18446744073709551615]`},
	"float16":      {arrow.Field{Type: arrow.FixedWidthTypes.Float16}, `[1.5, null, -0.25]`},
	"float32":      {arrow.Field{Type: f32}, `[1.5, null, -3.4e38]`},
	"float64":      {arrow.Field{Type: arrow.PrimitiveTypes.Float64}, `[1.5, null, -1.7976931348623157e308]`},
	"decimal128":   {arrow.Field{Type: &arrow.Decimal128Type{Precision: 38, Scale: 10}}, `["12345678901234567890.0123456789", null, "-1"]`},
	"decimal256":   {arrow.Field{Type: &arrow.Decimal256Type{Precision: 76, Scale: 3}}, `["123456789012345678901234567890123456789012345.001", null, "-1"]`},
	"decimal -2":   {arrow.Field{Type: &arrow.Decimal128Type{Precision: 9, Scale: -2}}, `["12300", null, "-100"]`},
	"utf8":         {arrow.Field{Type: text}, `["", null, "ünïcödé ☃ \u0000 end"]`},
	"large utf8":   {arrow.Field{Type: arrow.BinaryTypes.LargeString}, `["", null, "x"]`},
	"binary":       {arrow.Field{Type: arrow.BinaryTypes.Binary}, `["", null, "AAEC/w=="]`},
	"large binary": {arrow.Field{Type: arrow.BinaryTypes.LargeBinary}, `["", null, "AAEC/w=="]`},
	"binary of 3":  {arrow.Field{Type: &arrow.FixedSizeBinaryType{ByteWidth: 3}}, `["AAEC", null, "////"]`},
	"date32":       {arrow.Field{Type: arrow.FixedWidthTypes.Date32}, `["1969-12-31", null, "2262-01-01"]`},
	"date64":       {arrow.Field{Type: arrow.FixedWidthTypes.Date64}, `["1969-12-31", null, "2262-01-01"]`},
	"time32 s":     {arrow.Field{Type: arrow.FixedWidthTypes.Time32s}, `["00:00:01", null, "23:59:59"]`},
	"time32 ms":    {arrow.Field{Type: arrow.FixedWidthTypes.Time32ms}, `["00:00:00.001", null, "23:59:59.999"]`},
	"time64 us":    {arrow.Field{Type: arrow.FixedWidthTypes.Time64us}, `["00:00:00.000001", null, "23:59:59"]`},
	"time64 ns":    {arrow.Field{Type: arrow.FixedWidthTypes.Time64ns}, `["00:00:00.000000001", null, "23:59:59"]`},
	"timestamp s":  {arrow.Field{Type: &arrow.TimestampType{Unit: arrow.Second}}, `["1969-12-31 23:59:59", null, "2262-01-01"]`},
	"timestamp ms": {arrow.Field{Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "Europe/Berlin"}}, `["1970-01-01 00:00:00.001", null, "2262-01-01"]`},
	"timestamp us": {arrow.Field{Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "+05:30"}}, `["1970-01-01 00:00:00.000001", null, "2262-01-01"]`},
	"timestamp ns": {arrow.Field{Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}}, `["1970-01-01 00:00:00.000000001", null, "2262-01-01"]`},
	"duration s":   {arrow.Field{Type: arrow.FixedWidthTypes.Duration_s}, `["-5s", null, "5s"]`},
	"duration ns":  {arrow.Field{Type: arrow.FixedWidthTypes.Duration_ns}, `["-5ns", null, "5ns"]`},
	"null":         {arrow.Field{Type: arrow.Null}, `[null, null, null]`},

	"list":               {arrow.Field{Type: arrow.ListOf(i64)}, `[[], null, [1, null, 3]]`},
	"list element":       {arrow.Field{Type: listOf("element", i64, false)}, `[[], null, [1, 2, 3]]`},
	"list of unnamed":    {arrow.Field{Type: listOf("", i64, true)}, `[[], null, [1, null, 3]]`},
	"list with metadata": {arrow.Field{Type: arrow.ListOfField(arrow.Field{Name: "it", Type: i64, Nullable: true, Metadata: tags})}, `[[1], null, []]`},
	"large list":         {arrow.Field{Type: arrow.LargeListOf(text)}, `[[], null, ["a", null, ""]]`},
	"list of lists":      {arrow.Field{Type: arrow.ListOf(arrow.ListOf(text))}, `[[[], null, ["x"]], null, []]`},
	"list of structs": {
		arrow.Field{Type: arrow.ListOf(arrow.StructOf(
			arrow.Field{Name: "a", Type: i64, Nullable: true}, arrow.Field{Name: "b", Type: text, Nullable: true}))},
		`[[{"a": 1, "b": null}, null], null, []]`,
	},
	"vector":             {arrow.Field{Type: arrow.FixedSizeListOf(3, f32)}, `[[1, 2, 3], null, [4, null, 6]]`},
	"required vector":    {arrow.Field{Type: arrow.FixedSizeListOfNonNullable(3, f32)}, `[[1, 2, 3], null, [4, 5, 6]]`},
	"vector of int8":     {arrow.Field{Type: arrow.FixedSizeListOfField(2, arrow.Field{Name: "element", Type: arrow.PrimitiveTypes.Int8, Metadata: tags})}, `[[1, 2], null, [4, 6]]`},
	"vector of bools":    {arrow.Field{Type: arrow.FixedSizeListOf(3, arrow.FixedWidthTypes.Boolean)}, `[[true, false, null], null, [false, false, true]]`},
	"vector of half":     {arrow.Field{Type: arrow.FixedSizeListOf(2, arrow.FixedWidthTypes.Float16)}, `[[1.5, 2], null, [3, 4]]`},
	"vector of times":    {arrow.Field{Type: arrow.FixedSizeListOf(1, arrow.FixedWidthTypes.Timestamp_us)}, `[["1970-01-01 00:00:00.000001"], null, ["2262-01-01"]]`},
	"list of vectors":    {arrow.Field{Type: arrow.ListOf(arrow.FixedSizeListOf(2, f32))}, `[[[1, 2], [3, 4]], null, []]`},
	"matrix":             {arrow.Field{Type: arrow.FixedSizeListOf(2, arrow.FixedSizeListOf(2, f32))}, `[[[1, 2], [3, 4]], null, [[5, 6], [7, 8]]]`},
	"struct":             {arrow.Field{Type: arrow.StructOf(arrow.Field{Name: "a", Type: i64, Nullable: true}, arrow.Field{Name: "b", Type: arrow.ListOf(text), Nullable: true})}, `[{"a": 1, "b": ["x", null]}, null, {"a": null, "b": null}]`},
	"struct of required": {arrow.Field{Type: arrow.StructOf(arrow.Field{Name: "a", Type: i64})}, `[{"a": 1}, {"a": 2}, {"a": 3}]`},
	"struct, odd names": {
		arrow.Field{Type: arrow.StructOf(
			arrow.Field{Name: "a.b", Type: i64, Nullable: true, Metadata: tags}, arrow.Field{Name: "", Type: i64, Nullable: true},
			arrow.Field{Name: "_rowid", Type: text, Nullable: true}, arrow.Field{Name: "`x`", Type: text, Nullable: true})},
		"[{\"a.b\": 1, \"\": 2, \"_rowid\": \"r\", \"`x`\": \"y\"}, null, {\"a.b\": null, \"\": null, \"_rowid\": null, \"`x`\": null}]",
	},
	"map": {arrow.Field{Type: arrow.MapOf(text, i64)}, `[[{"key": "a", "value": 1}], null, []]`},
	"map of lists": {
		arrow.Field{Type: arrow.MapOf(i64, arrow.ListOf(text))},
		`[[{"key": 1, "value": ["a", null]}, {"key": 2, "value": null}], null, []]`,
	},
	"map of required": {arrow.Field{Type: requiredMap()}, `[[{"key": "a", "value": 1}], null, []]`},
	"tensor": {
		arrow.Field{
			Type: arrow.StructOf(
				arrow.Field{Name: "data", Type: arrow.ListOf(f32)}, arrow.Field{Name: "shape", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32)}),
			Metadata: meta("ARROW:extension:name", "arrow.variable_shape_tensor", "ARROW:extension:metadata", ""),
		},
		`[{"data": [1, 2], "shape": [1, 2]}, {"data": [], "shape": [0, 7]}, {"data": [3], "shape": [1, 1]}]`,
	},
	"blob":         {arrow.Field{Type: arrow.BinaryTypes.LargeBinary, Metadata: meta("lance-encoding:blob", "true", "a", "b")}, `["", null, "AAEC/w=="]`},
	"packed":       {arrow.Field{Type: arrow.StructOf(arrow.Field{Name: "a", Type: text, Nullable: true}), Metadata: meta("packed", "true")}, `[{"a": "x"}, null, {"a": null}]`},
	"zipped bool":  {arrow.Field{Type: arrow.FixedWidthTypes.Boolean, Metadata: meta("lance-encoding:structural-encoding", "fullzip")}, `[true, null, false]`},
	"fsst":         {arrow.Field{Type: i64, Metadata: meta("lance-encoding:compression", "fsst")}, `[1, null, 2]`},
	"fsst of text": {arrow.Field{Type: text, Metadata: meta("lance-encoding:compression", "fsst")}, `["a", null, "b"]`},
	"other bytes":  {arrow.Field{Type: i64, Metadata: meta("a", "\xff", "\xff", "b", "c", "d")}, `[1, null, 3]`},
	"bytes inside": {
		arrow.Field{Type: arrow.ListOf(arrow.StructOf(arrow.Field{Name: "a", Type: i64, Nullable: true, Metadata: meta("a", "\xff", "c", "d")}))},
		`[[{"a": 1}], null, []]`,
	},
	"metadata twice": {arrow.Field{Type: i64, Metadata: meta("a", "1", "a", "2")}, `[1, null, 3]`},
	"metadata":       {arrow.Field{Type: i64, Metadata: tags}, `[1, null, 3]`},
	"structure":      {arrow.Field{Type: text, Metadata: meta("lance-encoding:structural-encoding", "fullzip")}, `["a", null, "b"]`},
	"compression":    {arrow.Field{Type: text, Metadata: meta("lance-encoding:compression", "zstd", "lance-encoding:compression-level", "3")}, `["a", null, "b"]`},
	"json":           {jsonField("x"), `["{\"a\":1}", null, "[]"]`},
	"list of json": {
		arrow.Field{Type: arrow.ListOfField(jsonField("item"))},
		`[["{\"a\":1}", null], null, []]`,
	},
	"struct of json": {
		arrow.Field{Type: arrow.StructOf(jsonField("j"), arrow.Field{Name: "n", Type: i64, Nullable: true})},
		`[{"j": "{\"a\":1}", "n": 1}, null, {"j": null, "n": 2}]`,
	},
}

func requiredMap() *arrow.MapType {
	m := arrow.MapOf(text, i64)
	m.SetItemNullable(false)
	return m
}

func sortedMap() *arrow.MapType {
	m := arrow.MapOf(text, i64)
	m.KeysSorted = true
	return m
}

func jsonField(name string) arrow.Field {
	return arrow.Field{
		Name: name, Type: text, Nullable: true,
		Metadata: meta("ARROW:extension:name", "arrow.json", "ARROW:extension:metadata", ""),
	}
}

func TestStorable(t *testing.T) {
	for name, c := range storable {
		c.field.Name, c.field.Nullable = "x", true
		for _, compression := range []string{"auto", "none", "lz4", "zstd"} {
			t.Run(name+"/"+compression, func(t *testing.T) {
				if compression != "auto" && (testing.Short() || strings.HasPrefix(name, "timestamp")) {
					t.Skip()
				}
				checkRoundTrip(t, c.field, c.values, compression)
			})
		}
	}
}

// checkRoundTrip stores values in a new table and in a new column, and expects
// them back by every way there is.
func checkRoundTrip(t *testing.T, f arrow.Field, values, compression string) {
	t.Helper()
	if err := CheckStorable(f); err != nil {
		t.Fatal(err)
	}
	schemaMeta := meta("of the", "schema", "lance", "x", "bytes", "\xff", "\xff", "", pairPrefix, "y")
	schema := arrow.NewSchema([]arrow.Field{ids.Field(0), f}, &schemaMeta)
	x, _, err := array.FromJSON(alloc, f.Type, strings.NewReader(values))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Release()
	i, _, err := array.FromJSON(alloc, i64, strings.NewReader(`[0, 1, 2]`))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Release()
	rec := array.NewRecord(schema, []arrow.Array{i, x}, 3)
	defer rec.Release()

	table := createIn(t, t.TempDir()+"/t.lance", schema, Config{Compression: compression})
	for range 4 {
		must(t)(table.Append([]arrow.Record{rec, rec}))
	}
	written := must(t)(table.Snapshot())
	if !written.Schema().Equal(schema) {
		t.Fatalf("schema %s\ninstead of %s", written.Schema(), schema)
	}
	s, _, err := table.Compact(CompactOptions{})
	merged := must(t)(s, err)
	closeTable(t, table)
	table = open(t, table.Dir())
	reopened := must(t)(table.Snapshot())

	check := func(how string, got arrow.Record, from, to int64) {
		t.Helper()
		if !got.Schema().Equal(schema) {
			t.Fatalf("%s: schema %s\ninstead of %s", how, got.Schema(), schema)
		}
		column := array.NewSlice(x, from, to)
		defer column.Release()
		if !array.Equal(got.Column(1), column) {
			t.Fatalf("%s: %s\ninstead of %s", how, got.Column(1), column)
		}
	}
	for how, s := range map[string]*Snapshot{"written": written, "merged": merged, "reopened": reopened} {
		for n, r := range readAll(t, s, 0, 24, nil, 3) {
			if r.NumRows() != 3 {
				t.Fatalf("%s: batch %d of %d rows", how, n, r.NumRows())
			}
			check(how, r, 0, 3)
		}
		for row := range int64(3) {
			got, err := s.Take([]int64{row + 21}, nil)
			if err != nil {
				t.Fatal(err)
			}
			check(how+", taken", got, row, row+1)
			got.Release()
		}
		got, err := s.Take([]int64{0, 4, 23}, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(how+", taken here and there", got, 0, 3)
		got.Release()
	}

	late := create(t, ids)
	appendRows(t, late, 0, 5)
	added := must(t)(late.AddColumns([]arrow.Field{f}, arrow.Metadata{}))
	if got := added.Schema().Field(2); !got.Equal(f) {
		t.Fatalf("added as %s %v\ninstead of %s %v", got, got.Metadata, f, f.Metadata)
	}
	after := must(t)(late.Append([]arrow.Record{rec}))
	records := readAll(t, after, 0, 8, []string{"i", "x"}, 5)
	if n := records[0].Column(1).NullN(); n != 5 && f.Type.ID() != arrow.NULL {
		t.Fatalf("an added column has %d nulls", n)
	}
	if got := records[len(records)-1].Column(1); !array.Equal(got, x) {
		t.Fatalf("added: %s\ninstead of %s", got, x)
	}
}

func TestNotStorable(t *testing.T) {
	inList := func(t arrow.DataType) arrow.Field { return arrow.Field{Type: arrow.ListOf(t)} }
	large := jsonField("x")
	large.Type = arrow.BinaryTypes.LargeString
	for name, c := range map[string]struct {
		field arrow.Field
		says  string
	}{
		"utf8 view":            {arrow.Field{Type: arrow.BinaryTypes.StringView}, "x: string_view"},
		"binary view":          {arrow.Field{Type: arrow.BinaryTypes.BinaryView}, "x: binary_view"},
		"list view":            {arrow.Field{Type: arrow.ListViewOf(i64)}, "x: list_view"},
		"dictionary":           {arrow.Field{Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: text}}, "x: dictionary"},
		"union":                {arrow.Field{Type: arrow.SparseUnionOf([]arrow.Field{{Name: "a", Type: i64}}, []arrow.UnionTypeCode{0})}, "x: sparse_union"},
		"run ends":             {arrow.Field{Type: arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, i64)}, "x: run_end_encoded"},
		"interval":             {arrow.Field{Type: arrow.FixedWidthTypes.MonthInterval}, "x: month_interval"},
		"empty struct":         {arrow.Field{Type: arrow.StructOf()}, "x: struct<>"},
		"empty binary":         {arrow.Field{Type: &arrow.FixedSizeBinaryType{}}, "without bytes"},
		"deep":                 {inList(arrow.StructOf(arrow.Field{Name: "a", Type: arrow.BinaryTypes.StringView})), "x[].a: string_view"},
		"text vector":          {arrow.Field{Type: arrow.FixedSizeListOf(2, text)}, "use a list"},
		"sorted map":           {arrow.Field{Type: sortedMap()}, "sorted keys"},
		"map of json":          {arrow.Field{Type: arrow.MapOfWithMetadata(text, arrow.Metadata{}, text, jsonField("").Metadata)}, "metadata inside"},
		"map of views":         {arrow.Field{Type: arrow.MapOf(text, arrow.BinaryTypes.StringView)}, "x[].value: string_view"},
		"struct vector":        {arrow.Field{Type: arrow.FixedSizeListOf(2, arrow.StructOf(arrow.Field{Name: "a", Type: i64}))}, "use a list"},
		"large json":           {large, "over utf8 only"},
		"reserved key":         {arrow.Field{Type: i64, Metadata: meta("persisting:field", "x")}, "persisting:field"},
		"key of Lance's":       {arrow.Field{Type: i64, Metadata: meta("lance-schema:unenforced-primary-key", "true")}, "lance-schema:unenforced-primary-key"},
		"compression":          {arrow.Field{Type: text, Metadata: meta("lance-encoding:compression", "gzip")}, `"gzip", want one of`},
		"level":                {arrow.Field{Type: text, Metadata: meta("lance-encoding:compression-level", "99")}, `"99", want 1 to 22`},
		"structure":            {arrow.Field{Type: text, Metadata: meta("lance-encoding:structural-encoding", "sparse")}, `"sparse", want one of`},
		"name":                 {inList(arrow.StructOf(arrow.Field{Name: "a\xff", Type: i64})), `the name "a\xff" is no UTF-8`},
		"extension of Lance's": {arrow.Field{Type: arrow.BinaryTypes.LargeBinary, Metadata: meta("ARROW:extension:name", "lance.json")}, "lance.json"},
	} {
		t.Run(name, func(t *testing.T) {
			c.field.Name, c.field.Nullable = "x", true
			err := CheckStorable(c.field)
			if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %q", err, c.says)
			}
			if _, err := Create(t.TempDir()+"/t.lance", arrow.NewSchema([]arrow.Field{c.field}, nil), Config{}); !errors.Is(err, ErrSchema) {
				t.Fatalf("create: %v", err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	names := []string{
		"", "a", "A", "a.b", "a%2Eb", "%", "%%", "a b", "a\nb", "\"quoted\"", "`backticks`", "'", "ünïcödé ☃", "_rowid",
		"_rowaddr", "_rowoffset", "_row_last_updated_at_version", "_row_created_at_version", "%5Frowid", "_id", "select",
		"lance", "a/b\\c", "😀", strings.Repeat("long", 1000), "\x01", "[0]", "*", "$", "\t",
	}
	fields := make([]arrow.Field, len(names))
	cells := make([]arrow.Array, len(names))
	for n, name := range names {
		fields[n] = arrow.Field{Name: name, Type: i64, Nullable: true}
		b := array.NewInt64Builder(alloc)
		b.Append(int64(n))
		cells[n] = b.NewArray()
		b.Release()
		defer cells[n].Release()
	}
	schema := arrow.NewSchema(fields, nil)
	rec := array.NewRecord(schema, cells, 1)
	defer rec.Release()
	table := create(t, schema)
	s := must(t)(table.Append([]arrow.Record{rec}))
	if !s.Schema().Equal(schema) {
		t.Fatalf("schema %s", s.Schema())
	}
	for n, name := range names {
		got, err := s.Take([]int64{0}, []string{name})
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if v := got.Column(0).(*array.Int64).Value(0); v != int64(n) || got.ColumnName(0) != name {
			t.Errorf("%q gives column %q with %d", name, got.ColumnName(0), v)
		}
		got.Release()
		cast := arrow.Field{Type: arrow.PrimitiveTypes.Float64, Nullable: true}
		if _, err := castAndRelease(table, name, cast); err != nil {
			t.Errorf("cast of %q: %v", name, err)
		}
	}
	late := create(t, ids)
	for _, name := range names {
		added, err := late.AddColumns([]arrow.Field{{Name: name, Type: text, Nullable: true}}, arrow.Metadata{})
		if err != nil {
			t.Errorf("add %q: %v", name, err)
			continue
		}
		added.Release()
	}
}

func TestCompression(t *testing.T) {
	b := array.NewRecordBuilder(alloc, ids)
	defer b.Release()
	for i := range int64(50_000) {
		b.Field(0).(*array.Int64Builder).Append(i % 7 * 1_000_003)
		b.Field(1).(*array.StringBuilder).Append(strings.Repeat("the same again ", int(i%5)))
	}
	rec := b.NewRecord()
	defer rec.Release()
	size := map[string]int64{}
	for _, compression := range []string{"none", "lz4", "zstd"} {
		table := createIn(t, t.TempDir()+"/t.lance", ids, Config{Compression: compression})
		s := must(t)(table.Append([]arrow.Record{rec}))
		size[compression] = s.DataBytes()
	}
	if size["lz4"]*2 > size["none"] || size["zstd"]*2 > size["none"] {
		t.Fatalf("sizes %v", size)
	}
	table := createIn(t, t.TempDir()+"/t.lance", ids, Config{Compression: "none", ColumnCompression: map[string]string{"s": "zstd:19"}})
	s := must(t)(table.Append([]arrow.Record{rec}))
	if s.DataBytes() >= size["none"] || s.DataBytes() <= size["zstd"] {
		t.Fatalf("%d bytes with one column compressed, %v with none and both", s.DataBytes(), size)
	}
	if !s.Schema().Equal(rec.Schema()) {
		t.Fatalf("columns come back as %v", s.Schema())
	}
}

func castAndRelease(table *Table, name string, to arrow.Field) (*arrow.Schema, error) {
	s, err := table.CastColumn(name, to)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	return s.Schema(), nil
}

// Escaped names differ where names differ.
func FuzzEscapeName(f *testing.F) {
	for _, s := range []string{"", "%", "a.b", "a%2Eb", "_rowid", "%5Frowid", "`"} {
		f.Add(s, s+".")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ea, eb := escapeName(a), escapeName(b)
		if ea == "" || strings.ContainsAny(ea, ".`") || (ea == eb) != (a == b) {
			t.Fatalf("%q as %q, %q as %q", a, ea, b, eb)
		}
	})
}
