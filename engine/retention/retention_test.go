package retention

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

var errRead = errors.New("unreadable")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// version has the rows with these ids, of which each takes 10 bytes, and had so many.
type version struct {
	ids  []int64
	next int64
	err  error
}

func (v version) Rows() int64      { return int64(len(v.ids)) }
func (v version) NextRowID() int64 { return v.next }

func (v version) Place(id int64) (rank, first, end int64, err error) {
	at, _ := slices.BinarySearch(v.ids, id)
	if at == len(v.ids) {
		return int64(at), v.next, v.next, v.err
	}
	return int64(at), v.ids[at], v.ids[at] + 1, v.err
}

func (v version) BytesFrom(id int64) (int64, error) {
	at, _ := slices.BinarySearch(v.ids, id)
	return int64(len(v.ids)-at) * 10, v.err
}

func span(first, end int64) (ids []int64) {
	for i := first; i < end; i++ {
		ids = append(ids, i)
	}
	return ids
}

func TestCut(t *testing.T) {
	holes := slices.DeleteFunc(span(100, 300), func(id int64) bool { return id%2 == 1 })
	for name, c := range map[string]struct {
		bounds Bounds
		v      version
		memory int64 // rows that the table lacks
		slack  int64 // the cut when a bound may be exceeded by an eighth
		exact  int64
	}{
		"no bound":               {Bounds{}, version{ids: span(0, 100), next: 100}, 50, 0, 0},
		"below the bound":        {Bounds{Rows: 100}, version{ids: span(0, 100), next: 100}, 0, 0, 0},
		"an eighth above":        {Bounds{Rows: 80}, version{ids: span(0, 90), next: 90}, 0, 0, 10},
		"more than an eighth":    {Bounds{Rows: 80}, version{ids: span(0, 91), next: 91}, 0, 11, 11},
		"rows in memory count":   {Bounds{Rows: 80}, version{ids: span(0, 90), next: 90}, 1, 11, 11},
		"not those in memory go": {Bounds{Rows: 5}, version{ids: span(0, 10), next: 10}, 100, 10, 10},
		"holes":                  {Bounds{Rows: 40}, version{ids: holes, next: 300}, 0, 219, 219},
		"bytes":                  {Bounds{Bytes: 500}, version{ids: span(0, 60), next: 60}, 0, 10, 10},
		"bytes, an eighth above": {Bounds{Bytes: 500}, version{ids: span(0, 56), next: 56}, 0, 0, 6},
		"the stricter of two":    {Bounds{Rows: 50, Bytes: 100}, version{ids: span(0, 60), next: 60}, 0, 50, 50},
		"nothing is left":        {Bounds{Rows: 1}, version{next: 60}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(vfs.OS, t.TempDir(), c.bounds)
			if r.Bounded() != (c.bounds != Bounds{}) {
				t.Error("bounded is wrong")
			}
			for exact, want := range map[bool]int64{false: c.slack, true: c.exact} {
				got, err := r.Cut(c.v, c.v.next+c.memory, time.Now(), exact)
				if err != nil || got != want {
					t.Errorf("exact %v: cut at %d, want %d: %v", exact, got, want, err)
				}
			}
			c.v.err = errRead
			if _, err := r.Cut(c.v, c.v.next+c.memory, time.Now(), true); !errors.Is(err, errRead) {
				t.Errorf("a fault gives %v", err)
			}
		})
	}
}

func TestRowsOfUnknownAgeAreAsOldAsTheNewestVersion(t *testing.T) {
	dir := t.TempDir()
	start := time.Unix(1e9, 0)
	bounds := Bounds{Age: time.Hour}
	r := New(vfs.OS, dir, bounds)
	must(t, r.Open(100, func() (time.Time, error) { return start, nil }))
	v := version{ids: span(0, 100), next: 100}
	again := New(vfs.OS, dir, bounds)
	must(t, again.Open(100, func() (time.Time, error) { return start, errRead })) // which is not asked for: the file has it
	for _, r := range []*Retention{r, again} {
		for after, want := range map[time.Duration]int64{time.Hour - 1: 0, time.Hour: 100} {
			if cut, err := r.Cut(v, 100, start.Add(after), false); err != nil || cut != want {
				t.Errorf("after %v: cut at %d, want %d: %v", after, cut, want, err)
			}
		}
	}
	if err := New(vfs.OS, dir, bounds).Open(101, func() (time.Time, error) { return start, errRead }); !errors.Is(err, errRead) {
		t.Errorf("a fault gives %v", err)
	}
}

func TestFewTimesAreKept(t *testing.T) {
	d, err := faultfs.NewDisk(t.TempDir())
	must(t, err)
	defer func() { must(t, d.Close()) }()
	const age = 1600 * time.Second
	times := &New(d, t.TempDir(), Bounds{Age: age}).times
	start := time.Unix(1e9, 0)
	at := func(i int64) time.Time { return start.Add(time.Duration(i) * time.Second) }
	removed := int64(0)
	for i := range int64(10_000) { // a row each second
		must(t, times.note(i+1, removed, at(i)))
		removed = max(removed, times.before(at(i).Add(-age)))
		if len(times.entries) > 2*Slack+3 {
			t.Fatalf("%d entries", len(times.entries))
		}
		if late := i - 1600 - removed; i > 1700 && (late < -1 || late > 1600/Slack) {
			t.Fatalf("after %d s, rows are removed %d s late", i, late)
		}
	}
	again := &New(d, filepath.Dir(times.path), Bounds{Age: age}).times
	must(t, again.open())
	if !slices.EqualFunc(again.entries, times.entries, func(x, y timed) bool { return x.Rows == y.Rows && x.Time.Equal(y.Time) }) {
		t.Fatalf("read %v, wrote %v", again.entries, times.entries)
	}
}
