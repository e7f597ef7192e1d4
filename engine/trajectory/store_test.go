package trajectory

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
)

var columns = arrow.NewSchema([]arrow.Field{
	{Name: "version", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "obs", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "tokens", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
}, nil)

// someSteps are n steps, the first of them of that value.
func someSteps(t testing.TB, value float64, n int) arrow.Record {
	t.Helper()
	b := array.NewRecordBuilder(memory.Allocator, columns)
	defer b.Release()
	tokens := b.Field(2).(*array.ListBuilder)
	for i := range n {
		b.Field(0).(*array.Int32Builder).Append(7)
		b.Field(1).(*array.Float64Builder).Append(value + float64(i))
		tokens.Append(true)
		for k := range (int(value) + i) % 3 {
			tokens.ValueBuilder().(*array.Int64Builder).Append(int64(k))
		}
	}
	rec := b.NewRecord()
	t.Cleanup(rec.Release)
	return rec
}

// openStore opens a store that is closed at the end of the test at the latest.
func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func begin(t testing.TB, s *Store, id string, attempt int32) (number uint32, next int64) {
	t.Helper()
	number, next, err := s.Begin(Identity{ID: id, Attempt: attempt})
	if err != nil {
		t.Fatal(err)
	}
	return number, next
}

func appendSteps(t testing.TB, s *Store, number uint32, first int64, n int, stored int64) {
	t.Helper()
	got, err := s.Append(number, first, someSteps(t, float64(first), n), false)
	if err != nil || got != stored {
		t.Fatalf("append of %d steps at %d stored %d, %v; want %d", n, first, got, err, stored)
	}
}

// refused wants an error of a class with a text.
func refused(t testing.TB, err, class error, text string) {
	t.Helper()
	if !errors.Is(err, class) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %v with %q", err, class, text)
	}
}

func TestAStepIsThereOnce(t *testing.T) {
	s := openStore(t, t.TempDir())
	number, next := begin(t, s, "a", 0)
	if number != 0 || next != 0 {
		t.Fatal(number, next)
	}
	appendSteps(t, s, number, 0, 5, 5)
	appendSteps(t, s, number, 0, 5, 0)
	appendSteps(t, s, number, 3, 5, 3)
	_, err := s.Append(number, 9, someSteps(t, 9, 1), false)
	refused(t, err, ErrConflict, "gap: the next one is 8")
	_, err = s.Append(number, 6, someSteps(t, 5, 3), false)
	refused(t, err, ErrDuplicate, `step 6 of episode "a", attempt 0, is there with another value in column "obs"`)
	other := new(DuplicateError)
	if !errors.As(err, &other) || other.Detail() != 6 {
		t.Error(err)
	}
	if got := s.Stats(); got.Steps != 8 || got.Rows != 8 {
		t.Errorf("%+v", got)
	}
	last := someSteps(t, 8, 1)
	for _, stored := range []int64{1, 0} {
		if got, err := s.Append(number, 8, last, true); err != nil || got != stored {
			t.Fatal(got, err)
		}
	}
	_, err = s.Append(number, 8, someSteps(t, 8, 1), false)
	refused(t, err, ErrConflict, "has 8 steps and its last observation")
	refused(t, s.Finish(number, Ending{Steps: 9}), ErrConflict, "has 8 steps, and cannot end with 9")
	for range 2 {
		if err := s.Finish(number, Ending{Steps: 8, Truncated: true}); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, s.Finish(number, Ending{Steps: 8}), ErrConflict, "is ended already")
	appendSteps(t, s, number, 2, 3, 0)
}

func TestAttempts(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	first, _ := begin(t, s, "a", 0)
	appendSteps(t, s, first, 0, 4, 4)
	if again, next := begin(t, s, "a", 0); again != first || next != 4 {
		t.Fatal(again, next)
	}
	second, next := begin(t, s, "a", 2)
	if second == first || next != 0 {
		t.Fatal(second, next)
	}
	_, _, err := s.Begin(Identity{ID: "a", Attempt: 1})
	refused(t, err, ErrConflict, "was superseded by attempt 2")
	_, _, err = s.Begin(Identity{ID: "a", Attempt: 2, Env: "other"})
	refused(t, err, ErrConflict, `was begun with group "" and env ""`)
	_, err = s.Append(first, 4, someSteps(t, 4, 1), false)
	refused(t, err, ErrConflict, "is superseded and takes no more steps")
	appendSteps(t, s, second, 0, 2, 2)
	other, _ := begin(t, s, "b", 0)
	if n, err := s.CloseLost(time.Hour); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.Finish(second, Ending{Steps: 2, Terminated: true}); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Begin(Identity{ID: "a", Attempt: 3})
	refused(t, err, ErrConflict, "has ended in attempt 2")
	if n, err := s.CloseLost(0); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_, _, err = s.Begin(Identity{ID: "b"})
	refused(t, err, ErrConflict, "closed as lost")
	if again, _ := begin(t, s, "b", 1); again == other {
		t.Fatal(again)
	}
	for range 2 { // after an opening it is the same
		got := s.Stats()
		if got.Steps != 2 || got.Rows != 6 || got.Open != 1 || got.Ended != 1 || got.Superseded != 2 || got.Lost != 0 {
			t.Fatalf("%+v", got)
		}
		counts := make([]bool, 7)
		s.AreSteps([]int64{0, 3, 4, 5, 6, -1, 1 << 40}, counts)
		if want := [7]bool{false, false, true, true}; [7]bool(counts) != want {
			t.Errorf("%v, want %v", counts, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir)
	}
}

// lose brings a part of a store back to what it was when keep was called, as a failure of the power can do.
func lose(t *testing.T, dir, part string) (back func()) {
	t.Helper()
	kept := filepath.Join(t.TempDir(), part)
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(dir, part))); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(kept)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABeginThatWasLost(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	whole, _ := begin(t, s, "a", 0)
	appendSteps(t, s, whole, 0, 3, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	back := lose(t, dir, episodesDir)
	s = openStore(t, dir)
	gone, _ := begin(t, s, "b", 0)
	appendSteps(t, s, gone, 0, 3, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	back()
	s = openStore(t, dir)
	if got := s.Stats(); got.Open != 1 || got.Steps != 3 || got.Rows != 6 {
		t.Errorf("%+v", got)
	}
	_, err := s.Read(gone)
	refused(t, err, ErrNotFound, "no episode of number 1")
	if number, next := begin(t, s, "b", 0); number == gone || next != 0 {
		t.Errorf("episode %d goes on at %d", number, next)
	}
}

func TestAnEndWhoseStepsWereLost(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 3, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	back := lose(t, dir, stepsDir)
	s = openStore(t, dir)
	appendSteps(t, s, number, 3, 3, 3)
	end := Ending{Steps: 6, Terminated: true, Metadata: "{}"}
	if err := errors.Join(s.Finish(number, end), s.Close()); err != nil {
		t.Fatal(err)
	}
	back()
	s = openStore(t, dir)
	if found, err := s.Describe("a"); err != nil || found.State != "open" || found.Steps != 3 || found.Terminated {
		t.Fatalf("%+v, %v", found, err)
	}
	appendSteps(t, s, number, 0, 6, 3)
	if err := errors.Join(s.Finish(number, end), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if found, err := s.Describe("a"); err != nil || found.State != "ended" || found.Steps != 6 || !found.Terminated {
		t.Fatalf("%+v, %v", found, err)
	}
}

func TestAnEpisodeOutlivesItsBatch(t *testing.T) {
	id := strings.Repeat("x", 100)
	rec := eventsOf(time.Now(), &episode{Identity: Identity{ID: id, Group: id, Env: id}, Ending: Ending{Metadata: id}, state: ended})
	ids := rec.Column(1).(*array.String).ValueBytes()
	e, err := eventAt(rec, 0)
	if err != nil {
		t.Fatal(err)
	}
	for column := range int(rec.NumCols()) {
		if texts, ok := rec.Column(column).(*array.String); ok {
			clear(texts.ValueBytes())
		}
	}
	if string(ids) == id || e.ID != id || e.Group != id || e.Env != id || e.Metadata != id || e.state != ended {
		t.Errorf("%+v", e)
	}
	rec.Release()
}

func TestOtherDirectories(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, DefaultOptions())
	refused(t, err, ErrInvalid, "it holds notes")
	store := t.TempDir()
	if err := openStore(t, store).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(store, identityFile)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(store, DefaultOptions())
	refused(t, err, engine.ErrCorrupt, "trajectories is gone")
	o := DefaultOptions()
	o.ReadOnly = true
	_, err = Open(filepath.Join(dir, "none"), o)
	refused(t, err, ErrNotFound, "no store")
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestBesideTheOwner(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	appendSteps(t, s, number, 0, 3, 3)
	o := DefaultOptions()
	o.ReadOnly = true
	reader, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := reader.Stats(); got.Steps != 3 {
		t.Errorf("%+v", got)
	}
	_, _, err = reader.Begin(Identity{ID: "b"})
	refused(t, err, engine.ErrReadOnly, "reading")
	_, err = reader.Append(number, 3, someSteps(t, 3, 1), false)
	refused(t, err, engine.ErrReadOnly, "reading")
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	appendSteps(t, s, number, 3, 3, 3)
}

func TestTheIndexKnowsTheNextRow(t *testing.T) {
	x := newIndex()
	const envs, rounds = 3, 20_000
	for n := range uint32(envs) {
		x.begin(&episode{number: n, state: open})
	}
	for range rounds {
		for n := range envs {
			x.add(x.episodes[n], 1+int64(n)%2, false) // the second one brings two at once
		}
	}
	x.visible = x.rows
	if len(x.chunks) != int(x.rows-1)>>chunkBits+1 {
		t.Fatal(len(x.chunks), x.rows)
	}
	for n, e := range x.episodes {
		offset := e.runs[0].first
		for step := range e.Steps {
			p := x.at(offset)
			if p.episode != uint32(n) || int64(p.step) != step || e.offsets(step, step+1)[0] != offset || !x.isStep(offset) {
				t.Fatalf("row %d is step %d of episode %d, want step %d of %d", offset, p.step, p.episode, step, n)
			}
			if (p.next == 0) != (step == e.Steps-1) {
				t.Fatalf("step %d of %d: the next row is %d behind", step, n, p.next)
			}
			offset += int64(p.next)
		}
	}
}

func TestColumnsOfSteps(t *testing.T) {
	s := openStore(t, t.TempDir())
	number, _ := begin(t, s, "a", 0)
	try := func(fields ...arrow.Field) error {
		t.Helper()
		schema := arrow.NewSchema(fields, nil)
		b := array.NewRecordBuilder(memory.Allocator, schema)
		defer b.Release()
		for _, f := range b.Fields() {
			f.AppendEmptyValue()
		}
		rec := b.NewRecord()
		defer rec.Release()
		_, err := s.Append(number, 0, rec, false)
		return err
	}
	version := arrow.Field{Name: "version", Type: arrow.PrimitiveTypes.Int32}
	for name, c := range map[string]struct {
		field arrow.Field
		want  string
	}{
		"reserved":  {arrow.Field{Name: "step", Type: arrow.PrimitiveTypes.Int64}, "has a column of that name itself"},
		"timestamp": {arrow.Field{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us}, "steps cannot hold timestamp"},
		"lists":     {arrow.Field{Name: "x", Type: arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int64))}, "steps cannot hold list"},
		"version":   {arrow.Field{Name: "version", Type: arrow.PrimitiveTypes.Int64}, "an int32, not int64"},
		"none":      {arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64}, `"version": is missing`},
	} {
		fields := []arrow.Field{version, c.field}
		if name == "version" || name == "none" {
			fields = fields[1:]
		}
		err := try(fields...)
		if schema := new(engine.SchemaError); !errors.As(err, &schema) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	appendSteps(t, s, number, 0, 1, 1)
	number, _ = begin(t, s, "b", 0)
	for want, fields := range map[string][]arrow.Field{
		`"tokens": is missing`:       columns.Fields()[:2],
		"had no such column":         append(columns.Fields(), arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64}),
		"is float64 since the first": {columns.Field(0), {Name: "obs", Type: arrow.PrimitiveTypes.Float32}, columns.Field(2)},
	} {
		if err := try(fields...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
