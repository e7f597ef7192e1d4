package tail

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	arrowmemory "github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/persisting/persisting/engine/batch"
)

var numbered = arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build is a record of the rows [first, end), each with its offset, of the schema numbered.
func build(allocator arrowmemory.Allocator, first, end int64) arrow.Record {
	b := array.NewRecordBuilder(allocator, numbered)
	defer b.Release()
	for i := first; i < end; i++ {
		b.Field(0).(*array.Int64Builder).Append(i)
	}
	return b.NewRecord()
}

// message is the same as a message of the log.
func message(t testing.TB, first, end int64) []byte {
	t.Helper()
	rec := build(arrowmemory.DefaultAllocator, first, end)
	defer rec.Release()
	e, err := batch.NewEncoder(numbered)
	must(t, err)
	pieces, err := e.Encode(rec)
	must(t, err)
	return bytes.Join(pieces, nil)
}

// rows reads chunks, each of which must begin where the one before ends.
func rows(t testing.TB, chunks []Chunk) []int64 {
	t.Helper()
	var got []int64
	for i, c := range chunks {
		if i > 0 && c.First != chunks[i-1].End {
			t.Fatalf("a chunk begins at %d, the one before ends at %d", c.First, chunks[i-1].End)
		}
		if c.Record.NumRows() != c.End-c.First {
			t.Fatalf("%d rows at [%d, %d)", c.Record.NumRows(), c.First, c.End)
		}
		got = append(got, c.Record.Column(0).(*array.Int64).Int64Values()...)
	}
	return got
}

func offsets(first, end int64) (all []int64) {
	for i := first; i < end; i++ {
		all = append(all, i)
	}
	return all
}

// check holds that a tail has the rows [first, end), each at its offset, and counts what they take.
func check(t testing.TB, tail *Tail, first, end int64) {
	t.Helper()
	if tail.Next() != end || tail.Begin() > first {
		t.Fatalf("rows [%d, %d), want [%d, %d)", tail.Begin(), tail.Next(), first, end)
	}
	chunks, err := tail.Slice(first, end)
	must(t, err)
	defer Release(chunks)
	if got := rows(t, chunks); !slices.Equal(got, offsets(first, end)) {
		t.Fatalf("rows %v, want [%d, %d)", got, first, end)
	}
	var sum int64
	for _, c := range tail.Chunks() {
		sum += c.Bytes
	}
	if sum != tail.Bytes() || tail.BytesFrom(tail.Begin()) != sum {
		t.Fatalf("counts %d bytes, its chunks have %d", tail.Bytes(), sum)
	}
}

// TestTailAgainstAModel does all that can be done to a tail in a random order: the rows that it must have are those between two
// numbers. What goes leaves no buffer behind.
func TestTailAgainstAModel(t *testing.T) {
	columns, err := batch.NewMessageSchema(numbered)
	must(t, err)
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		counted := arrowmemory.NewCheckedAllocator(arrowmemory.DefaultAllocator)
		var tail Tail
		first, end := int64(0), int64(0)
		for range 200 {
			switch r.IntN(10) {
			default:
				n := 1 + r.Int64N(3)
				tail.Push(build(counted, end, end+n))
				end += n
			case 0, 1, 2:
				n := 1 + r.Int64N(3)
				tail.Pack(columns, numbered, message(t, end, end+n), n)
				end += n
			case 3:
				must(t, tail.Settle(end-r.Int64N(end-first+1)))
			case 4:
				offset := first + r.Int64N(end-first+1)/4
				must(t, tail.Cut(offset))
				first = offset
			case 5:
				offset := end - r.Int64N(end-first+1)/4
				must(t, tail.Trim(offset))
				end = offset
				tail.ContinueAt(end)
			case 6:
				checkpoint := first + r.Int64N(end-first+1)/2
				tail.Evict(checkpoint, r.Int64N(tail.Bytes()+1))
				if first = tail.Begin(); first > checkpoint {
					t.Fatalf("seed %d: rows from the checkpoint %d on are gone, up to %d", seed, checkpoint, first)
				}
			}
			from := first + r.Int64N(end-first+1)
			chunks, err := tail.Slice(from, end)
			must(t, err)
			if got := rows(t, chunks); !slices.Equal(got, offsets(from, end)) {
				t.Fatalf("seed %d: rows %v, want [%d, %d)", seed, got, from, end)
			}
			Release(chunks)
		}
		check(t, &tail, first, end)
		tail.Clear()
		if tail.Next() != end || tail.Bytes() != 0 {
			t.Errorf("seed %d: an empty tail goes on at %d, want %d, and counts %d bytes", seed, tail.Next(), end, tail.Bytes())
		}
		counted.AssertSize(t, 0)
	}
}

func TestSmallMessagesAreReadOnceTheyAreFull(t *testing.T) {
	columns, err := batch.NewMessageSchema(numbered)
	must(t, err)
	var tail Tail
	for i := range int64(PackedCount) {
		if _, found := tail.Full(); found {
			t.Fatalf("full after %d messages", i)
		}
		if _, full := tail.Pack(columns, numbered, message(t, i, i+1), 1); full != (i == PackedCount-1) {
			t.Fatalf("message %d: full is %v", i, full)
		}
	}
	if len(tail.Chunks()) != 1 {
		t.Fatalf("%d chunks", len(tail.Chunks()))
	}
	c, found := tail.Full()
	if !found {
		t.Fatal("not full")
	}
	rec, err := c.Unpack()
	must(t, err)
	tail.Replace([]Chunk{c}, rec)
	rec.Release()
	if _, found := tail.Full(); found {
		t.Error("still packed")
	}
	check(t, &tail, 0, PackedCount)
}

// TestWhatWasReadBeforeRowsWentTakesNoPlace brings joined rows back after the tail has changed in each way that there is.
func TestWhatWasReadBeforeRowsWentTakesNoPlace(t *testing.T) {
	for name, change := range map[string]func(*Tail) error{
		"evicted": func(tail *Tail) error { tail.Evict(2, 0); return nil },
		"cut":     func(tail *Tail) error { return tail.Cut(1) },
		"trimmed": func(tail *Tail) error { return tail.Trim(5) },
		"cleared": func(tail *Tail) error { tail.Clear(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			var tail Tail
			for i := int64(0); i < 6; i += 2 {
				tail.Push(build(arrowmemory.DefaultAllocator, i, i+2))
			}
			chunks, err := tail.Slice(0, 6)
			must(t, err)
			must(t, change(&tail))
			first, end, bytes := tail.Begin(), tail.Next(), tail.Bytes()
			told := 0
			joined, err := Coalesce(numbered, chunks, 100, func(parts []Chunk, records []arrow.Record) {
				told++
				tail.Replace(parts, records...)
			})
			must(t, err)
			defer batch.ReleaseAll(joined)
			if told != 1 || len(joined) != 1 || joined[0].NumRows() != 6 {
				t.Errorf("%d batches, told %d times", len(joined), told)
			}
			if tail.Begin() != first || tail.Next() != end || tail.Bytes() != bytes {
				t.Errorf("rows [%d, %d) of %d bytes, want [%d, %d) of %d", tail.Begin(), tail.Next(), tail.Bytes(), first, end, bytes)
			}
		})
	}
}

func TestManySmallBatchesSettle(t *testing.T) {
	var tail Tail
	for i := range int64(settleCount) {
		tail.Push(build(arrowmemory.DefaultAllocator, i, i+1))
	}
	must(t, tail.Settle(settleCount-1)) // the last is not acknowledged
	if n := len(tail.Chunks()); n != settleCount {
		t.Errorf("%d chunks, want %d", n, settleCount)
	}
	must(t, tail.Settle(settleCount))
	if n := len(tail.Chunks()); n != 1 {
		t.Errorf("%d chunks, want 1", n)
	}
	check(t, &tail, 0, settleCount)
}
