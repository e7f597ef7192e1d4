package sheet

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/memory"
)

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "done", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "reward", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "obs", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Int16), Nullable: true},
	{Name: "tokens", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
	{Name: "mask", Type: arrow.ListOf(arrow.FixedWidthTypes.Boolean), Nullable: true},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "version", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
}, nil)

// model makes the same rows as Arrow builders do.
func model(t *testing.T, from, to int) arrow.Record {
	t.Helper()
	b := array.NewRecordBuilder(memory.Allocator, schema)
	defer b.Release()
	for i := from; i < to; i++ {
		b.Field(0).(*array.BooleanBuilder).Append(i%3 == 0)
		b.Field(1).(*array.Float64Builder).Append(float64(i) / 2)
		obs := b.Field(2).(*array.FixedSizeListBuilder)
		obs.Append(true)
		tokens, mask := b.Field(3).(*array.ListBuilder), b.Field(4).(*array.ListBuilder)
		tokens.Append(true)
		mask.Append(true)
		for k := range 3 {
			obs.ValueBuilder().(*array.Int16Builder).Append(int16(i + k))
			if k < i%4 {
				tokens.ValueBuilder().(*array.Int64Builder).Append(int64(i * k))
				mask.ValueBuilder().(*array.BooleanBuilder).Append((i+k)%2 == 0)
			}
		}
		b.Field(5).(*array.StringBuilder).Append(strings.Repeat("é", i%5))
		b.Field(6).(*array.Int32Builder).Append(int32(i))
	}
	rec := b.NewRecord()
	t.Cleanup(rec.Release)
	return rec
}

// put writes the i-th row of the model, as a putter does; false where there is no room.
func put(s *Sheet, at, i int) bool {
	cells := func(c *column, row int, values ...uint64) {
		for k, v := range values {
			place := s.memory[c.values+(int64(row)*max(c.items, 1)+int64(k))*c.width:]
			switch c.width {
			case 1:
				place[0] = byte(v)
			case 2:
				order.PutUint16(place, uint16(v))
			case 4:
				order.PutUint32(place, uint32(v))
			case 8:
				order.PutUint64(place, v)
			}
		}
	}
	heap := func(c *column, bytes []byte) bool {
		start := c.end(s.memory, int64(at)) * c.width
		if start+int64(len(bytes)) > c.room {
			return false
		}
		copy(s.memory[c.values+start:], bytes)
		order.PutUint32(s.memory[c.ends+int64(at+1)*endBytes:], uint32((start+int64(len(bytes)))/c.width))
		return true
	}
	flag := func(yes bool) uint64 {
		if yes {
			return 1
		}
		return 0
	}
	cells(&s.columns[0], at, flag(i%3 == 0))
	cells(&s.columns[1], at, math.Float64bits(float64(i)/2))
	cells(&s.columns[2], at, uint64(i), uint64(i+1), uint64(i+2))
	var tokens, mask []byte
	for k := range i % 4 {
		tokens = order.AppendUint64(tokens, uint64(i*k))
		mask = append(mask, byte(flag((i+k)%2 == 0)))
	}
	if !heap(&s.columns[3], tokens) || !heap(&s.columns[4], mask) || !heap(&s.columns[5], []byte(strings.Repeat("é", i%5))) {
		return false
	}
	cells(&s.columns[6], at, uint64(i))
	*s.word(countAt) = uint64(at + 1)
	return true
}

func create(t *testing.T, rows, heap int64) (*Sheet, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sheet")
	s, err := Create(path, schema, rows, heap)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func same(t *testing.T, s *Sheet, from, to int64, want arrow.Record) {
	t.Helper()
	got, err := s.Rows(from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	if !array.RecordEqual(got, want) {
		t.Fatalf("rows %d to %d:\n%v\nwant\n%v", from, to, got, want)
	}
}

func TestRowsAreThoseThatWerePut(t *testing.T) {
	s, path := create(t, 40, 200)
	*s.word(episodeAt), *s.word(firstAt) = 7, 11
	chance := rand.New(rand.NewPCG(1, 2))
	first := 0
	for range 20 {
		n := 0
		for n < 40 && put(s, n, first+n) {
			n++
		}
		if n < 10 || int(s.Count()) != n {
			t.Fatal(n, s.Count())
		}
		from := chance.IntN(n)
		to := from + chance.IntN(n-from+1)
		same(t, s, int64(from), int64(to), model(t, first+from, first+to))
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		left, err := Parse(content)
		if err != nil {
			t.Fatal(err)
		}
		if number, place, err := left.Place(); number != 7 || place != 11 || err != nil {
			t.Fatal(number, place, err)
		}
		same(t, left, 0, left.Count(), model(t, first, first+n))
		first += n
		s.Clear()
	}
}

func TestSheetsThatCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sheet")
	for _, size := range [][2]int64{{0, 1}, {MaxRows + 1, 1}, {1, -1}, {1, MaxBytes + 1}, {1, MaxBytes}} {
		if _, err := Create(path, schema, size[0], size[1]); err == nil || !strings.Contains(err.Error(), "want") {
			t.Error(size, err)
		}
	}
	other := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.FixedWidthTypes.Date32}}, nil)
	if _, err := Create(path, other, 1, 1); err == nil || !strings.Contains(err.Error(), `column "x": a sheet cannot hold date32`) {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestDamage(t *testing.T) {
	s, path := create(t, 4, 100)
	for i := range 4 {
		put(s, i, i)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(content []byte) error {
		found, err := Parse(content)
		if err != nil {
			return err
		}
		if found == nil {
			return errors.New("nothing")
		}
		if _, _, err := found.Place(); err != nil {
			return err
		}
		rec, err := found.Rows(0, found.Count())
		if err == nil {
			rec.Release()
		}
		return err
	}
	word := func(at int64, value uint64) func(b []byte) []byte {
		return func(b []byte) []byte { order.PutUint64(b[at:], value); return b }
	}
	for name, test := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"nothing":           {func(b []byte) []byte { return b }, "<nil>"},
		"another file":      {func(b []byte) []byte { b[3] = 'x'; return b }, "not the first bytes"},
		"a later version":   {func(b []byte) []byte { b[versionAt] = 2; return b }, "it has version 2"},
		"its rows":          {word(rowsAt, 5), "checksum"},
		"its columns":       {func(b []byte) []byte { b[preambleAt+40]++; return b }, "checksum"},
		"a long preamble":   {word(lengthAt, 1<<40), "checksum"},
		"its end":           {func(b []byte) []byte { return b[:len(b)-1] }, "bytes, want"},
		"more than its end": {func(b []byte) []byte { return append(b, 0) }, "bytes, want"},
		"its count":         {word(countAt, 5), "rows 0 to 5 of 4"},
		"a count below 0":   {word(countAt, 1<<63), "rows 0 to -"},
		"its episode":       {word(episodeAt, 1<<32), "of episode 4294967296"},
		"its place":         {word(firstAt, 1<<63), "step 9223372036854775808"},
		"an end beyond":     {word(s.columns[3].ends+8, 1<<20), `column "tokens": the items of row 1 end at 1048576`},
		"an end before":     {word(s.columns[5].ends+12, 1), `column "text": the items of row 2 end at 1`},
		"another start":     {word(s.columns[4].ends, 1), `column "mask": the items of row -1 end at 1`},
		"another boot":      {func(b []byte) []byte { b[bootAt]++; return b }, "nothing"},
		"zeros":             {func(b []byte) []byte { clear(b); return b }, "nothing"},
		"an empty file":     {func(b []byte) []byte { return nil }, "nothing"},
	} {
		err := read(test.change(append([]byte(nil), whole...)))
		if !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}
