package trajectory

import (
	"slices"
	"testing"
)

// filled is an index of so many episodes of 100 steps and a last observation.
func filled(episodes uint32) *index {
	x := newIndex()
	for n := range episodes {
		x.begin(&episode{number: n, state: ended})
		x.add(x.episodes[n], 100, false)
		x.add(x.episodes[n], 1, true)
	}
	x.visible = x.rows
	return x
}

// drawLine draws all that is left, in pieces, and returns the rows.
func drawLine(t *testing.T, d *drawer, x *index) (rows []int64) {
	t.Helper()
	var out []window
	for {
		var err error
		if out, err = d.draw(x, 5000, out[:0]); err != nil {
			t.Fatal(err)
		}
		d.spent.keep()
		if len(out) == 0 {
			return rows
		}
		for _, w := range out {
			rows = append(rows, w.first)
		}
	}
}

func TestALineGoesPastWhatWasDrawn(t *testing.T) {
	const episodes = 2000 // three chunks, and a part of one
	for _, order := range []string{oldestFirst, newestFirst} {
		x := filled(episodes)
		law := &Law{Order: order, Length: 1, Stride: 1, Times: 1, oldest: -1}
		d, err := newDrawer(law, new(ranks), x.rows)
		if err != nil {
			t.Fatal(err)
		}
		rows := drawLine(t, d, x)
		if order == newestFirst {
			slices.Reverse(rows)
		}
		if len(rows) != 100*episodes || !slices.IsSorted(rows) || len(slices.Compact(rows)) != 100*episodes {
			t.Fatalf("%s: %d rows were drawn", order, len(rows))
		}
		for n, c := range d.spent.chunks[:3] {
			if c.over != chunkRows {
				t.Errorf("%s: of chunk %d, %d rows are over", order, n, c.over)
			}
		}
		x.begin(&episode{number: episodes, state: open})
		x.add(x.episodes[episodes], 10, false)
		x.visible = x.rows
		text := d.spent.text()
		again, err := newDrawer(&Law{Order: order, Length: 1, Stride: 1, Times: 1, oldest: -1, Position: &Position{Spent: text}}, new(ranks), x.rows)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.spent.text(); !slices.Equal(got, text) || again.spent.chunks[1].over != chunkRows {
			t.Errorf("%s: %d bytes came back of %d", order, len(got), len(text))
		}
		first, err := again.draw(x, 4, nil)
		if err != nil || len(first) != 4 {
			t.Fatal(first, err)
		}
		again.takeBack()
		if rest := drawLine(t, again, x); len(rest) != 10 || rest[0] != first[0].first {
			t.Errorf("%s: %v after %v was taken back", order, rest, first)
		}
		refused(t, new(spent).parse(text, x.rows), ErrInvalid, "no sampler has")
	}
}

func TestCountsOfRowsThatWereLostAreForgotten(t *testing.T) {
	x := filled(10)
	law := Law{Order: oldestFirst, Length: 1, Stride: 1, Times: 2, oldest: -1}
	d, err := newDrawer(&law, new(ranks), x.rows)
	if err != nil {
		t.Fatal(err)
	}
	drawLine(t, d, x)
	law.Position = &Position{Spent: d.spent.text()}
	fewer := filled(4)
	if d, err = newDrawer(&law, new(ranks), fewer.rows); err != nil {
		t.Fatal(err)
	}
	if rows := drawLine(t, d, fewer); len(rows) > 0 {
		t.Errorf("%d rows were drawn again", len(rows))
	}
	if rows := drawLine(t, d, x); len(rows) != 2*600 {
		t.Errorf("%d rows were drawn, want those of six other episodes twice", len(rows))
	}
}
