package lance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/float16"
)

// randomType gives a type that CheckStorable takes.
func randomType(r *rand.Rand, depth int) arrow.DataType {
	kinds := 16
	if depth == 0 {
		kinds = 11
	}
	field := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: randomType(r, depth-1), Nullable: true}
	}
	switch r.IntN(kinds) {
	case 0:
		return arrow.FixedWidthTypes.Boolean
	case 1:
		return i64
	case 2:
		return arrow.PrimitiveTypes.Uint8
	case 3:
		return f64
	case 4:
		return f32
	case 5:
		return text
	case 6:
		return arrow.BinaryTypes.LargeBinary
	case 7:
		return &arrow.FixedSizeBinaryType{ByteWidth: 1 + r.IntN(20)}
	case 8:
		return arrow.FixedSizeListOf(int32(1+r.IntN(9)), f32)
	case 9:
		return arrow.FixedWidthTypes.Float16
	case 10:
		return arrow.Null
	case 11, 12:
		return arrow.ListOfField(field("item"))
	case 13:
		return arrow.LargeListOfField(field("item"))
	case 14:
		return arrow.MapOf(i64, randomType(r, depth-1))
	}
	fields := make([]arrow.Field, 1+r.IntN(3))
	for i := range fields {
		fields[i] = field(fmt.Sprint("f", i))
	}
	return arrow.StructOf(fields...)
}

// style says how the values of one column are spread.
type style struct {
	nulls  float64 // share of nulls
	repeat int     // how many different values, 0: any
	large  bool    // long texts and lists
}

func randomStyle(r *rand.Rand) style {
	return style{
		nulls:  []float64{0, 0, 0.02, 0.5, 0.98, 1}[r.IntN(6)],
		repeat: []int{0, 0, 1, 3, 50}[r.IntN(5)],
		large:  r.IntN(6) == 0,
	}
}

func appendRandom(r *rand.Rand, b array.Builder, s style) {
	if r.Float64() < s.nulls {
		b.AppendNull()
		return
	}
	n := r.Uint64()
	if s.repeat > 0 {
		n = uint64(r.IntN(s.repeat)) * 0x9e3779b97f4a7c15
	}
	length := func() int {
		limit := 6
		if s.large {
			limit = 20
		}
		return int(n>>3) % limit
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(n%2 == 0)
	case *array.Int64Builder:
		b.Append(int64(n) >> (n % 64))
	case *array.Uint8Builder:
		b.Append(uint8(n))
	case *array.Float64Builder:
		b.Append(math.Float64frombits(n))
	case *array.Float32Builder:
		b.Append(math.Float32frombits(uint32(n)))
	case *array.Float16Builder:
		b.Append(float16.FromBits(uint16(n) &^ 0x4000)) // no NaN, which arrow finds unequal
	case *array.StringBuilder:
		b.Append(strings.Repeat(fmt.Sprint("ü", n), length()))
	case *array.BinaryBuilder:
		b.Append([]byte(strings.Repeat(fmt.Sprint("\x00", n), length())))
	case *array.FixedSizeBinaryBuilder:
		value := make([]byte, b.Type().(*arrow.FixedSizeBinaryType).ByteWidth)
		for i := range value {
			value[i] = byte(n >> (i % 8 * 8))
		}
		b.Append(value)
	case *array.FixedSizeListBuilder:
		b.Append(true)
		for range b.Type().(*arrow.FixedSizeListType).Len() {
			appendRandom(r, b.ValueBuilder(), s)
		}
	case *array.NullBuilder:
		b.AppendNull()
	case *array.MapBuilder:
		b.Append(true)
		for i := range length() {
			b.KeyBuilder().(*array.Int64Builder).Append(int64(i))
			appendRandom(r, b.ItemBuilder(), s)
		}
	case *array.ListBuilder:
		b.Append(true)
		for range length() {
			appendRandom(r, b.ValueBuilder(), s)
		}
	case *array.LargeListBuilder:
		b.Append(true)
		for range length() {
			appendRandom(r, b.ValueBuilder(), s)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendRandom(r, b.FieldBuilder(i), s)
		}
	default:
		panic(fmt.Sprintf("no values for %T", b))
	}
}

// sameBits is array.Equal with floats compared bit by bit.
func sameBits(a, b arrow.Array) bool {
	return array.ApproxEqual(a, b, array.WithNaNsEqual(true), array.WithAbsTolerance(0))
}

// withSeeds runs a test with random numbers of so many seeds, or fewer if it must
// be short.
func withSeeds(t *testing.T, seeds, fewer, stream uint64, test func(*testing.T, *rand.Rand)) {
	if testing.Short() {
		seeds = fewer
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { test(t, rand.New(rand.NewPCG(seed, stream))) })
	}
}

// Whatever the types, the values and the cuts into appends are, every way to
// read gives the rows back.
func TestRandomTables(t *testing.T) {
	withSeeds(t, 60, 10, 7, func(t *testing.T, r *rand.Rand) {
		n := int64([]int{1, 10, 300, 3000, 12000}[r.IntN(5)])
		all := randomRecord(r, n, 0)
		defer all.Release()

		compression := []string{"auto", "none", "lz4", "zstd"}[r.IntN(4)]
		table := createIn(t, t.TempDir()+"/t.lance", all.Schema(), Config{Compression: compression})
		for at := int64(0); at < n; {
			to := min(n, at+1+r.Int64N(n))
			cut := at + r.Int64N(to-at)
			parts := []arrow.Record{all.NewSlice(at, cut), all.NewSlice(cut, to)}
			must(t)(table.Append(parts))
			parts[0].Release()
			parts[1].Release()
			at = to
		}
		written := must(t)(table.Snapshot())
		s, _, err := table.Compact(CompactOptions{MinFragments: 2})
		for how, s := range map[string]*Snapshot{"written": written, "merged": must(t)(s, err)} {
			checkTable(t, r, how, s, all)
		}
	})
}

// Fragments of large pages are merged without decoding them.
func TestRandomTablesOfLargePages(t *testing.T) {
	withSeeds(t, 12, 4, 8, func(t *testing.T, r *rand.Rand) {
		n := int64([]int{30, 300, 3000}[r.IntN(3)])
		all := randomRecord(r, n, 10<<20)
		defer all.Release()
		table := createIn(t, t.TempDir()+"/t.lance", all.Schema(), Config{})
		cuts := []int64{0, n/4 + r.Int64N(n/6), n*5/8 + r.Int64N(n/12), n} // none of half the rows
		for i, to := range cuts[1:] {
			part := all.NewSlice(cuts[i], to)
			must(t)(table.Append([]arrow.Record{part}))
			part.Release()
		}
		written := must(t)(table.Snapshot())
		s, stats, err := table.Compact(CompactOptions{MinFragments: 2, TargetBytes: 1 << 30})
		merged := must(t)(s, err)
		if stats.FragmentsRemoved != 3 || stats.FragmentsAdded != 1 || merged.DataBytes() < 10<<20 {
			t.Fatalf("%+v, %d bytes", stats, merged.DataBytes())
		}
		for how, s := range map[string]*Snapshot{"written": written, "merged": merged} {
			checkTable(t, r, how, s, all)
		}
	})
}

// randomRecord makes n rows of up to three columns, and of one more of so many
// bytes that no compression makes fewer, if that is not 0.
func randomRecord(r *rand.Rand, n, bytes int64) arrow.Record {
	fields := make([]arrow.Field, 1+r.IntN(3))
	for i := range fields {
		fields[i] = arrow.Field{Name: fmt.Sprint("c", i), Type: randomType(r, 2), Nullable: true}
	}
	if bytes > 0 {
		fields = append(fields, arrow.Field{Name: "noise", Type: arrow.BinaryTypes.LargeBinary, Nullable: true})
	}
	b := array.NewRecordBuilder(alloc, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, f := range fields {
		s := randomStyle(r)
		for range n {
			if f.Name != "noise" {
				appendRandom(r, b.Field(i), s)
				continue
			}
			value := make([]byte, bytes/n+1)
			for j := range value {
				value[j] = byte(r.Uint32())
			}
			b.Field(i).(*array.BinaryBuilder).Append(value)
		}
	}
	return b.NewRecord()
}

func checkTable(t *testing.T, r *rand.Rand, how string, s *Snapshot, all arrow.Record) {
	t.Helper()
	n := all.NumRows()
	equal := func(what string, got arrow.Record, from int64) {
		t.Helper()
		want := all.NewSlice(from, from+got.NumRows())
		defer want.Release()
		for i := range int(got.NumCols()) {
			if !sameBits(got.Column(i), want.Column(i)) {
				t.Fatalf("%s, %s from row %d: column %s differs:\n%.500s\ninstead of\n%.500s",
					how, what, from, got.Schema().Field(i), got.Column(i), want.Column(i))
			}
		}
	}
	for range 4 {
		from := r.Int64N(n)
		count := 1 + r.Int64N(n-from)
		if r.IntN(3) == 0 {
			from, count = 0, n
		}
		at := from
		for _, rec := range readAll(t, s, from, count, nil, 1+r.IntN(5000)) {
			equal("read", rec, at)
			at += rec.NumRows()
		}
		if at != from+count {
			t.Fatalf("%s: %d rows of %d", how, at-from, count)
		}
	}
	want := make([]int64, 1+r.IntN(20))
	for i := range want {
		want[i] = r.Int64N(n)
	}
	if r.IntN(2) == 0 {
		slices.Sort(want)
		want = slices.Compact(want)
	}
	got, err := s.Take(want, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	for i, id := range want {
		row := got.NewSlice(int64(i), int64(i)+1)
		equal("take", row, id)
		row.Release()
	}
}
