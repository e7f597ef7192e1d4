package bucket

import "testing"

func TestAnAlarmTellsAllThatItKnowsWhenItIsOver(t *testing.T) {
	var a alarm
	var told int64
	rung, ended := 0, false
	a.set(func(more int64, over bool) {
		rung, told, ended = rung+1, told+more, over
	})
	a.end(7)
	if rung != 0 {
		t.Fatal("it rang, and nobody had asked")
	}
	a.arm(9)
	a.advance(8)
	if rung != 0 {
		t.Fatal("it rang too early")
	}
	a.end(8)
	if rung != 1 || told != 8 || !ended {
		t.Fatalf("it rang %d times, with %d, over %v; want once, 8, true", rung, told, ended)
	}
	a.arm(9)
	a.advance(12)
	if rung != 2 || told != 12 || ended {
		t.Fatalf("it rang %d times, with %d, over %v; want twice, 12, false", rung, told, ended)
	}
}
