package bucket

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
)

// pairs is a batch with the columns a and b, one of which may be of another type
// than that of the bucket.
func pairs(fields []arrow.Field, add func(*array.RecordBuilder)) arrow.Record {
	b := array.NewRecordBuilder(memory.Allocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	add(b)
	return b.NewRecord()
}

func nullable(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

func TestPromotionOfTwoColumnsIsAllOrNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	ints := []arrow.Field{nullable("a", arrow.PrimitiveTypes.Int64), nullable("b", arrow.PrimitiveTypes.Int64)}
	small := func() arrow.Record {
		return pairs(ints, func(r *array.RecordBuilder) {
			r.Field(0).(*array.Int64Builder).Append(1)
			r.Field(1).(*array.Int64Builder).Append(-1)
		})
	}
	wide := []arrow.Field{nullable("a", arrow.PrimitiveTypes.Float64), nullable("b", arrow.PrimitiveTypes.Uint64)}
	large := pairs(wide, func(r *array.RecordBuilder) {
		r.Field(0).(*array.Float64Builder).Append(0.5)
		r.Field(1).(*array.Uint64Builder).Append(1 << 63)
	})
	defer large.Release()
	put := func(b *Bucket) {
		t.Helper()
		rec := small()
		defer rec.Release()
		_, end, err := b.Append(Record{Rows: rec}, false)
		must(t, err)
		must(t, b.Wait(background, end))
	}
	put(b)
	var refused *engine.SchemaError
	if _, _, err := b.Append(Record{Rows: large}, false); !errors.As(err, &refused) || refused.Column != "b" {
		t.Fatalf("got %v, want a refusal of column b", err)
	}
	put(b)
	must(t, b.Flush())
	put(b)
	for _, b := range []*Bucket{b, open(t, crash(t, dir), quiet())} {
		schema, _ := b.Schema()
		for i, f := range schema.Fields() {
			if !arrow.TypeEqual(f.Type, ints[i].Type) {
				t.Errorf("column %q is %s after a promotion that was refused", f.Name, f.Type)
			}
		}
		c, err := b.Read(0, 10, false)
		must(t, err)
		var rows int64
		for {
			rec, err := c.Next()
			if err != nil {
				break
			}
			rows += rec.NumRows()
			rec.Release()
		}
		must(t, c.Close())
		if rows != 3 {
			t.Errorf("read %d rows, want 3", rows)
		}
	}
}

func TestReadsGoOnDuringAPromotion(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet(func(o *options.Options) { o.CacheBytes = 0 }))
	kinds := []arrow.DataType{arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64}
	put := func(kind arrow.DataType) {
		t.Helper()
		rec := pairs([]arrow.Field{nullable("a", kind)}, func(r *array.RecordBuilder) { must(t, r.Field(0).AppendValueFromString("1")) })
		defer rec.Release()
		_, end, err := b.Append(Record{Rows: rec}, false)
		must(t, err)
		must(t, b.Wait(background, end))
	}
	put(kinds[0])
	must(t, b.Flush())
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := b.Read(0, 10, false)
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				for rec, err := c.Next(); err == nil; rec, err = c.Next() {
					rec.Release()
				}
				if err := c.Close(); err != nil {
					t.Errorf("close: %v", err)
					return
				}
			}
		}()
	}
	for _, kind := range kinds[1:] {
		put(kind)
	}
	close(stop)
	readers.Wait()
}
