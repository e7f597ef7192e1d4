package main

import (
	"os"
	"reflect"
	"strconv"
	"testing"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
)

// TestPuts puts a message so many times as PUTS says, by the Go half of the C function. `python -m tests.stops` counts what one
// more goes through.
func TestPuts(t *testing.T) {
	puts, err := strconv.Atoi(os.Getenv("PUTS"))
	if err != nil {
		puts = 1
	}
	o := options.Default()
	o.FlushInterval = 0
	b, err := bucket.Open(t.TempDir(), o)
	must(t, err)
	defer func() { must(t, b.Close()) }()
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	columns, err := batch.NewMessageSchema(schema)
	must(t, err)
	message := messageOf(t, schema)
	put := reflect.ValueOf(persistingBucketAppendMessageGo)
	first, acknowledged := reflect.New(put.Type().In(6).Elem()), reflect.New(put.Type().In(7).Elem())
	arguments := []reflect.Value{
		number(put, 0, handles.add(kindBucket, b)), number(put, 1, handles.add(kindColumns, columns)),
		reflect.ValueOf(unsafe.Pointer(&message[0])), number(put, 3, uint64(len(message))), number(put, 4, 1), number(put, 5, 0),
		first, acknowledged, reflect.Zero(put.Type().In(8)),
	}
	for range puts {
		if status := put.Call(arguments)[0].Int(); status != 0 {
			t.Fatalf("a put gives status %d", status)
		}
	}
	if last := first.Elem().Int(); last != int64(puts-1) {
		t.Errorf("the last put got the offset %d, want %d", last, puts-1)
	}
}

// number is argument i of a function whose types are C's, which a test cannot name.
func number(f reflect.Value, i int, value uint64) reflect.Value {
	return reflect.ValueOf(value).Convert(f.Type().In(i))
}

func messageOf(t *testing.T, schema *arrow.Schema) []byte {
	builder := array.NewRecordBuilder(memory.Allocator, schema)
	defer builder.Release()
	builder.Field(0).(*array.Int64Builder).Append(7)
	rec := builder.NewRecord()
	defer rec.Release()
	e, err := batch.NewEncoder(schema)
	must(t, err)
	pieces, err := e.Encode(rec)
	must(t, err)
	var message []byte
	for _, piece := range pieces {
		message = append(message, piece...)
	}
	return message
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
