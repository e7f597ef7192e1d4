package trajectory

import (
	"errors"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/content"
	"github.com/persisting/persisting/engine/memory"
)

var namedColumns = arrow.NewSchema([]arrow.Field{
	{Name: "version", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{
		Name: "image", Type: arrow.FixedSizeListOf(content.NameBytes, arrow.PrimitiveTypes.Uint8), Nullable: true,
		Metadata: arrow.NewMetadata([]string{ContentKey}, []string{"binary"}),
	},
	{Name: "obs", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
}, nil)

// keepValues stores values, and returns their names.
func keepValues(t *testing.T, s *Store, values ...string) []content.Name {
	t.Helper()
	b := array.NewRecordBuilder(memory.Allocator, arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.BinaryTypes.Binary}}, nil))
	defer b.Release()
	b.Field(0).(*array.BinaryBuilder).AppendStringValues(values, nil)
	rec := b.NewRecord()
	defer rec.Release()
	names, err := s.Keep(rec)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// namingRows are rows of steps, one for each name. The caller releases them.
func namingRows(names ...content.Name) arrow.Record {
	b := array.NewRecordBuilder(memory.Allocator, namedColumns)
	defer b.Release()
	for i, name := range names {
		b.Field(0).(*array.Int32Builder).Append(7)
		list := b.Field(1).(*array.FixedSizeListBuilder)
		list.Append(true)
		list.ValueBuilder().(*array.Uint8Builder).AppendValues(name[:], nil)
		b.Field(2).(*array.Float64Builder).Append(float64(i))
	}
	return b.NewRecord()
}

// nameSteps appends a step for each name, or a last observation, which may have none.
func nameSteps(t *testing.T, s *Store, episode uint32, first int64, last bool, names ...content.Name) {
	t.Helper()
	rec := namingRows(names...)
	defer rec.Release()
	if stored, err := s.Append(episode, first, rec, last); err != nil || stored != int64(len(names)) {
		t.Fatal(stored, err)
	}
}

// reopen closes a store and opens it again, with what nobody names any more removed.
func reopen(t *testing.T, s *Store) *Store {
	t.Helper()
	done(t, s.Close())
	s = openStore(t, s.dir)
	s.sweeping.Wait()
	return s
}

func wantValues(t *testing.T, s *Store, gone []content.Name, there ...content.Name) {
	t.Helper()
	if got := s.Stats().Values; got != int64(len(there)) {
		t.Errorf("there are %d values, want %d", got, len(there))
	}
	c, err := s.Kept(there)
	done(t, err)
	done(t, c.Close())
	for _, name := range gone {
		_, err := s.Kept([]content.Name{name})
		refused(t, err, engine.ErrNotFound, "no value of that name")
	}
}

func TestValuesGoWithTheLastStepThatNamesThem(t *testing.T) {
	s := openStore(t, t.TempDir())
	n := keepValues(t, s, "shared", "superseded", "last", "lost", "nobody's")
	wantValues(t, s, nil, n...)
	old, _ := begin(t, s, "a", 0)
	nameSteps(t, s, old, 0, false, n[0], n[1])
	lost, _ := begin(t, s, "b", 0)
	nameSteps(t, s, lost, 0, false, n[3])
	if count, err := s.CloseLost(0); err != nil || count != 2 {
		t.Fatal(count, err)
	}
	anew, _ := begin(t, s, "a", 1)
	nameSteps(t, s, anew, 0, false, n[0])
	nameSteps(t, s, anew, 1, true, n[2])
	wantValues(t, s, nil, n...)
	// A lost episode can be read until another attempt comes.
	s = reopen(t, s)
	wantValues(t, s, n[1:2], n[0], n[2], n[3], n[4])
	begin(t, s, "b", 1)
	if again := keepValues(t, s, "superseded"); again[0] != n[1] {
		t.Error(again)
	}
	s = reopen(t, s)
	wantValues(t, s, []content.Name{n[1], n[3]}, n[0], n[2], n[4])
	done(t, s.Flush())
	s = reopen(t, s)
	wantValues(t, s, nil, n[0], n[2], n[4])
	if count, err := s.Remove([]string{"a"}); err != nil || count != 1 {
		t.Fatal(count, err)
	}
	s = reopen(t, s)
	wantValues(t, s, n[:4], n[4])
}

// What was kept by one who writes from another process may be named after an opening.
func TestValuesWithoutStepsStay(t *testing.T) {
	s := openStore(t, t.TempDir())
	n := keepValues(t, s, "a", "b")
	s = reopen(t, s)
	wantValues(t, s, nil, n...)
	number, _ := begin(t, s, "a", 0)
	nameSteps(t, s, number, 0, false, n...)
	s = reopen(t, s)
	wantValues(t, s, nil, n...)
	reader, err := Open(s.dir, Options{ReadOnly: true})
	done(t, err)
	wantValues(t, reader, nil, n...)
	done(t, reader.Close())
}

func TestAStepNamesNoValueThatIsGone(t *testing.T) {
	s := openStore(t, t.TempDir())
	n := keepValues(t, s, "a", "b")
	number, _ := begin(t, s, "a", 0)
	nameSteps(t, s, number, 0, false, n...)
	if _, err := s.Remove([]string{"a"}); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	wantValues(t, s, n)
	keepValues(t, s, "a")
	number, _ = begin(t, s, "b", 0)
	rows := namingRows(n...)
	defer rows.Release()
	_, err := s.Append(number, 0, rows, false)
	refused(t, err, engine.ErrNotFound, "no value of that name: "+n[1].String())
	if rows := s.Stats().Rows; rows != 2 {
		t.Errorf("%d rows", rows)
	}
	nameSteps(t, s, number, 0, false, n[0])
}

func TestColumnsThatHoldNoNames(t *testing.T) {
	s := openStore(t, t.TempDir())
	fields := namedColumns.Fields()
	fields[1].Type = arrow.FixedSizeListOf(16, arrow.PrimitiveTypes.Uint8)
	b := array.NewRecordBuilder(memory.Allocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, field := range b.Fields() {
		field.AppendNull()
	}
	rec := b.NewRecord()
	defer rec.Release()
	number, _ := begin(t, s, "a", 0)
	_, err := s.Append(number, 0, rec, false)
	if schema := (*engine.SchemaError)(nil); !errors.As(err, &schema) || schema.Column != "image" {
		t.Error(err)
	}
}
