package trajectory

import (
	"testing"

	"github.com/persisting/persisting/engine"
)

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	whole, _ := begin(t, s, "a", 0)
	appendSteps(t, s, whole, 0, 3, 3)
	if err := s.Finish(whole, Ending{Steps: 3, Truncated: true}); err != nil {
		t.Fatal(err)
	}
	unfinished, _ := begin(t, s, "b", 0)
	appendSteps(t, s, unfinished, 0, 2, 2)
	kept, _ := begin(t, s, "c", 0)
	appendSteps(t, s, kept, 0, 1, 1)

	_, err := s.Remove([]string{"a", "nope"})
	refused(t, err, ErrNotFound, `there is no episode "nope"`)
	if got := s.Stats(); got.Removed != 0 {
		t.Fatalf("%+v: what is refused removes nothing", got)
	}
	for _, want := range []int{2, 0} {
		if n, err := s.Remove([]string{"a", "b", "a"}); n != want || err != nil {
			t.Fatalf("removed %d, %v; want %d", n, err, want)
		}
	}
	_, err = s.Append(unfinished, 2, someSteps(t, 2, 1), false)
	refused(t, err, ErrConflict, "is removed and takes no more steps")
	refused(t, s.Finish(unfinished, Ending{Steps: 2}), ErrConflict, "is removed already")
	for range 2 { // after an opening it is the same
		if got := s.Stats(); got.Steps != 1 || got.Rows != 6 || got.Open != 1 || got.Ended != 0 || got.Removed != 2 {
			t.Fatalf("%+v", got)
		}
		_, err = s.Describe("a")
		refused(t, err, ErrNotFound, `episode "a" was removed`)
		_, _, err = s.Begin(Identity{ID: "a"})
		refused(t, err, ErrConflict, "was removed; a higher one begins anew")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir)
	}
	if again, next := begin(t, s, "a", 1); again == whole || next != 0 {
		t.Fatal(again, next)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.ReadOnly = true
	reader, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Remove([]string{"c"})
	refused(t, err, engine.ErrReadOnly, "")
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
}
