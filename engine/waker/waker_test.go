package waker

import "testing"

func TestAWakerTellsAllThatItKnowsWhenItIsOver(t *testing.T) {
	var w Waker
	var told int64
	calls, ended := 0, false
	w.Set(func(more int64, over bool) {
		calls, told, ended = calls+1, told+more, over
	})
	w.End(7)
	if calls != 0 {
		t.Fatal("it called, and nobody had asked")
	}
	w.Ask(9)
	w.Advance(8)
	if calls != 0 {
		t.Fatal("it called too early")
	}
	w.End(8)
	if calls != 1 || told != 8 || !ended {
		t.Fatalf("it called %d times, with %d, over %v; want once, 8, true", calls, told, ended)
	}
	w.Ask(9)
	w.Advance(12)
	if calls != 2 || told != 12 || ended {
		t.Fatalf("it called %d times, with %d, over %v; want twice, 12, false", calls, told, ended)
	}
}

// TestTheEarliestOfSeveralCounts asks for several, and has the function replaced, which ends what was asked of the one before.
func TestTheEarliestOfSeveralCounts(t *testing.T) {
	var w Waker
	w.Ask(1)
	w.Advance(1) // nobody is there to be called
	var told []int64
	wake := func(more int64, _ bool) { told = append(told, more) }
	w.Set(wake)
	w.Ask(9)
	w.Ask(5)
	w.Ask(7)
	w.Advance(4)
	w.Advance(6)
	w.Advance(9)
	if len(told) != 1 || told[0] != 6 {
		t.Fatalf("told %v, want 6 once", told)
	}
	w.Ask(10)
	w.Set(wake)
	w.Advance(10)
	if len(told) != 1 {
		t.Fatalf("told %v of what another had asked for", told)
	}
}
