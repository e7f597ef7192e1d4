package bucket

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/tail"
	"github.com/persisting/persisting/vfs/faultfs"
)

// event is a change on the file system: a sync when it is done, all else when it
// begins.
type event struct {
	name, path string // path relative to the bucket
}

func (e event) String() string { return e.name + " " + e.path }

// orders writes down what a bucket does, and what is on disk meanwhile.
type orders struct {
	t      *testing.T
	dir    string
	d      *faultfs.Disk
	b      *Bucket
	events []event
	faults []string
	known  map[string]bool // data files of the table that were there at the last event
}

func newOrders(t *testing.T) *orders {
	root := t.TempDir()
	o := &orders{t: t, dir: filepath.Join(root, "bucket"), d: newDisk(t, root), known: map[string]bool{}}
	o.d.Before = func(op faultfs.Op) error {
		switch op.Name {
		case "create", "writeat", "rename", "remove", "truncate", "mkdirall":
			o.add(op)
		}
		return nil
	}
	o.d.After = func(op faultfs.Op, _ int64) {
		switch op.Name {
		case "sync", "datasync", "syncdir":
			o.add(op)
		}
	}
	return o
}

func (o *orders) open(change ...func(*options.Options)) {
	o.t.Helper()
	opts := quiet(append(change, func(opts *options.Options) { opts.FS = o.d; opts.WALSyncInterval = 0 })...)
	b, err := Open(o.dir, opts)
	must(o.t, err)
	o.b = b
}

// add is called with the lock of the disk held.
func (o *orders) add(op faultfs.Op) {
	path, err := filepath.Rel(o.dir, op.Path)
	if err != nil {
		o.t.Error(err)
	}
	o.events = append(o.events, event{op.Name, path})
	// What removes rows from the log, or files of the table, comes after the version that has them.
	if strings.HasSuffix(path, ".wal") && (op.Name == "remove" || op.Name == "truncate") {
		o.wantDurable(op.Name + " " + path)
	}
	files, _ := filepath.Glob(filepath.Join(o.dir, "data.lance", "data", "*.lance"))
	now := map[string]bool{}
	for _, f := range files {
		now[f] = true
	}
	for f := range o.known {
		if !now[f] {
			o.wantDurable("clean-up of " + filepath.Base(f))
			break
		}
	}
	o.known = now
}

// wantDurable notes each file of the newest version that the table has which a
// power failure could damage now.
func (o *orders) wantDurable(when string) {
	table := filepath.Join(o.dir, "data.lance")
	if _, err := os.Stat(table); err != nil {
		return
	}
	manifests, _ := filepath.Glob(filepath.Join(table, "_versions", "*.manifest"))
	files, _ := filepath.Glob(filepath.Join(table, "data", "*.lance"))
	if len(manifests) > 0 {
		files = append(files, slices.Min(manifests)) // names count down
	}
	files = append(files, filepath.Join(o.dir, "table.mark"), filepath.Join(o.dir, "bucket.json"))
	for _, path := range files {
		changed, names, err := o.d.Unsynced(path)
		if err != nil {
			o.faults = append(o.faults, fmt.Sprintf("%s: %v", when, err))
			continue
		}
		if changed {
			o.faults = append(o.faults, fmt.Sprintf("%s: the content of %s is not on disk", when, filepath.Base(path)))
		}
		for _, name := range names {
			o.faults = append(o.faults, fmt.Sprintf("%s: the name %s is not on disk", when, name))
		}
	}
}

// first is the place of the first event that fits, counted from a place on.
func first(events []event, from int, fits func(event) bool) int {
	for i := from; i < len(events); i++ {
		if fits(events[i]) {
			return i
		}
	}
	return len(events)
}

func last(events []event, fits func(event) bool) int {
	for i, e := range slices.Backward(events) {
		if fits(e) {
			return i
		}
	}
	return -1
}

func inTable(e event) bool {
	return strings.HasPrefix(e.path, "data.lance") && strings.Contains(e.name, "sync")
}

func onMark(name string) func(event) bool {
	return func(e event) bool { return e.name == name && strings.HasPrefix(e.path, "table.mark") }
}

func cuts(e event) bool { return e.name == "remove" && strings.HasSuffix(e.path, ".wal") }

// wantCommit checks the order of a change of the table: announced in the mark,
// files, their directories, the mark, and then the log.
func wantCommit(events []event, kinds ...string) error {
	announced := first(events, 0, func(e event) bool { return onMark("datasync")(e) || onMark("rename")(e) })
	begin := first(events, 0, inTable)
	end := last(events, inTable)
	switch {
	case announced > begin:
		return fmt.Errorf("the change is announced at %d, the first file is synced at %d", announced, begin)
	case end < 0:
		return fmt.Errorf("no file of the table is synced")
	}
	for _, kind := range kinds {
		if i := first(events, 0, func(e event) bool { return e.name == "sync" && strings.Contains(e.path, kind) }); i == len(events) {
			return fmt.Errorf("no file in %s is synced", kind)
		}
	}
	for i, e := range events {
		if !strings.HasPrefix(e.path, "data.lance") || e.name != "sync" {
			continue
		}
		// Lance has made it before anything of the change is synced, in no order.
		change := events[last(events[:i], onMark("datasync"))+1 : first(events, i, onMark("writeat"))]
		for dir := filepath.Dir(e.path); dir != "."; dir = filepath.Dir(dir) {
			if first(change, 0, func(e event) bool { return e.name == "syncdir" && e.path == dir }) == len(change) {
				return fmt.Errorf("%s is not synced with %s", dir, e.path)
			}
		}
	}
	named := first(events, end, onMark("datasync"))
	if named == len(events) {
		return fmt.Errorf("the mark is not synced after the files")
	}
	if cut := first(events, 0, cuts); cut < named {
		return fmt.Errorf("the log is cut at %d, the mark is synced at %d", cut, named)
	}
	return nil
}

func TestOrderOfWriting(t *testing.T) {
	o := newOrders(t)
	half := recordOf([]row{{text: "half", value: 0.5}}, true)
	defer half.Release()
	wide := recordOf([]row{{text: "wide", value: 1, extra: 1}}, false)
	defer wide.Release()
	put := func(rec arrow.Record) {
		t.Helper()
		_, end, err := o.b.Append(Record{Rows: rec}, false)
		must(t, err)
		must(t, o.b.Wait(background, end))
	}
	some := func() {
		t.Helper()
		rec := recordOf([]row{{text: "row", value: 1}, {text: "row", value: 2}}, false)
		defer rec.Release()
		put(rec)
	}
	flush := func(events []event) error { return wantCommit(events, "data/", "_versions", "_transactions") }
	for _, step := range []struct {
		name string
		do   func()
		want func([]event) error
	}{
		{"open", func() { o.open() }, func(events []event) error {
			// bucket.json is there as a whole before anything else is made in the directory.
			named := first(events, 0, func(e event) bool { return e.name == "rename" && strings.HasPrefix(e.path, "bucket.json") })
			synced := first(events, named, func(e event) bool { return e.name == "syncdir" && e.path == "." })
			content := first(events, 0, func(e event) bool { return e.name == "sync" && strings.HasPrefix(e.path, "bucket.json") })
			other := first(events, 0, func(e event) bool {
				return e.path != "." && e.path != ".." && !strings.HasPrefix(e.path, "bucket.json")
			})
			if content > named || named > synced || synced > other || other == len(events) {
				return fmt.Errorf("content %d, name %d, directory %d, other files %d", content, named, synced, other)
			}
			return nil
		}},
		{"first flush", func() { some(); must(t, o.b.Flush()) }, flush},
		{"flush", func() { some(); must(t, o.b.Flush()) }, flush},
		{"flush of a new column", func() { put(wide); must(t, o.b.Flush()) }, flush},
		{"flush of several segments", func() { some(); put(wide); some(); must(t, o.b.Flush()) }, func(events []event) error {
			if n := first(events, 0, cuts); n == len(events) {
				return fmt.Errorf("the log is not cut")
			}
			return flush(events)
		}},
		{"compaction", func() {
			files := func() int { return len(o.known) }
			before := files()
			must(t, o.b.Compact())
			some() // an event, to look at the files
			if now := files(); now >= before {
				t.Errorf("%d files after a compaction of %d", now, before)
			}
			o.known["gone"] = true // and one after it
		}, func(events []event) error { return wantCommit(events, "data/", "_versions", "_transactions") }},
		{"promotion", func() {
			must(t, o.b.Flush())
			o.events = nil
			put(half)
		}, flush},
		{"close", func() { must(t, o.b.Close()) }, flush},
		{"open again", func() { o.open() }, func(events []event) error {
			if i := first(events, 0, func(e event) bool { return e.name == "remove" || e.name == "create" }); i < len(events) {
				return fmt.Errorf("%s where nothing was to be done", events[i])
			}
			return nil
		}},
		{"recovery", func() {
			put(half)
			o.die()
			o.open()
		}, func(events []event) error {
			if i := first(events, 0, cuts); i < len(events) {
				return fmt.Errorf("%s before the rows are in the table", events[i])
			}
			return nil
		}},
		{"recovery of a flush that did not cut the log", func() {
			b := o.b
			b.rows.mu.Lock()
			from, schema := b.rows.checkpoint, b.rows.schema
			chunks, err := b.rows.tail.Slice(from, b.rows.tail.Next())
			b.rows.mu.Unlock()
			must(t, err)
			snapshot, err := b.flusher.writeTable(schema, chunks, from)
			must(t, err)
			snapshot.Release()
			tail.Release(chunks)
			o.die()
			o.open()
			if s := o.b.Stats(); s.BufferSize != 0 {
				t.Errorf("rows of the table were replayed: %+v", s)
			}
		}, flush},
		{"end of the log", func() {
			put(half)
			must(t, o.b.Close())
			o.open(func(opts *options.Options) { opts.EnableWAL = false })
			must(t, o.b.Close())
		}, flush},
	} {
		o.events = nil
		step.do()
		if err := step.want(o.events); err != nil {
			t.Errorf("%s: %v", step.name, err)
			for i, e := range o.events {
				t.Log(i, e)
			}
		}
		for _, f := range o.faults {
			t.Errorf("%s: %s", step.name, f)
		}
		o.faults = nil
	}
}

// die ends the bucket as the death of its process does.
func (o *orders) die() {
	o.t.Helper()
	o.d.Power(false)
	if err := o.b.Close(); err == nil {
		o.t.Error("a bucket closes well without a disk")
	}
	o.d.Power(true)
}
