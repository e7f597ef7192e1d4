package bucket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/ring/ringtest"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
)

// putter puts numbered rows into a bucket, through its ring where that goes.
type putter struct {
	t       testing.TB
	b       *Bucket
	columns *batch.MessageSchema
	encoder *batch.Encoder
	ring    *ringtest.Putter
	next    int64
}

// putterOf gives an empty bucket the columns, and the ring, of numbered rows.
func putterOf(t testing.TB, b *Bucket) *putter {
	t.Helper()
	p := &putter{t: t, b: b, next: b.Acknowledged()}
	var err error
	p.columns, err = batch.NewMessageSchema(numbered)
	must(t, err)
	p.encoder, err = batch.NewEncoder(numbered)
	must(t, err)
	p.call(1)
	p.openRing()
	return p
}

func (p *putter) openRing() {
	p.t.Helper()
	next, err := p.b.OpenRing(p.columns)
	must(p.t, err)
	if next != p.next {
		p.t.Fatalf("the ring begins at offset %d, want %d", next, p.next)
	}
	if p.ring == nil {
		ring, err := ringtest.Open(p.b.ringPath())
		must(p.t, err)
		p.t.Cleanup(func() { must(p.t, ring.Close()) })
		p.ring = ring
	}
}

func (p *putter) message(n int64) []byte {
	p.t.Helper()
	rec := someRows(p.t, p.next, n)
	defer rec.Release()
	pieces, err := p.encoder.Encode(rec)
	must(p.t, err)
	return bytes.Join(pieces, nil)
}

// call puts n rows by a call.
func (p *putter) call(n int64) {
	p.t.Helper()
	first, end, err := p.b.Append(Message{p.columns, p.message(n)}, false)
	must(p.t, err)
	if first != p.next {
		p.t.Fatalf("rows got the offset %d, want %d", first, p.next)
	}
	p.next = end
	must(p.t, p.b.Wait(background, end))
}

// put puts n rows through the ring, and says whether it took them.
func (p *putter) put(n int64) bool {
	p.t.Helper()
	if p.ring.Held() || !p.ring.Put(p.message(n), n, p.next) {
		return false
	}
	p.next += n
	return true
}

// killed returns the bucket as the next process would find it.
func killed(t testing.TB, b *Bucket) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bucket")
	must(t, os.CopyFS(dir, os.DirFS(b.home.Path)))
	return dir
}

func TestRingAndCallsTogether(t *testing.T) {
	for _, withLog := range []bool{true, false} {
		random := rand.New(rand.NewPCG(7, 7))
		o := quiet(func(o *options.Options) { o.EnableWAL = withLog })
		dir := t.TempDir()
		p := putterOf(t, open(t, dir, o))
		var durable int64
		for range 400 {
			switch random.IntN(9) {
			case 0, 1, 2:
				for range random.IntN(40) {
					p.put(1 + random.Int64N(3))
				}
			case 3:
				if !p.put(200) { // more than what is kept as a message
					p.call(200)
				}
			case 4:
				p.call(1 + random.Int64N(3))
			case 5:
				appendRows(t, p.b, 2)
				p.next += 2
			case 6:
				offset, count := random.Int64N(p.next), random.Int64N(50)
				c, err := p.b.Read(offset, count, false)
				for i, id := range ids(t, c, err) {
					if id != offset+int64(i) {
						t.Fatalf("row %d at offset %d", id, offset+int64(i))
					}
				}
			case 7:
				must(t, p.b.Flush())
				durable = p.next
			case 8:
				if random.IntN(4) == 0 {
					must(t, p.b.Close())
					if _, err := os.Stat(p.b.ringPath()); !errors.Is(err, os.ErrNotExist) {
						t.Fatalf("the ring of a closed bucket: %v", err)
					}
					p.ring, p.b = nil, open(t, dir, o)
					durable = p.next
					p.call(1)
					p.openRing()
					continue
				}
				again := open(t, killed(t, p.b), quiet())
				if want := map[bool]int64{true: p.next, false: durable}[withLog]; again.Acknowledged() != want {
					t.Fatalf("log %v: %d rows after a kill, want %d", withLog, again.Acknowledged(), want)
				}
				wantRows(t, again, again.Acknowledged())
				must(t, again.Close())
			}
			if got := p.b.Stats().TotalCount; got != p.next {
				t.Fatalf("%d rows, want %d", got, p.next)
			}
		}
		wantRows(t, p.b, p.next)
	}
}

func TestRingIsEmptiedWithoutACall(t *testing.T) {
	p := putterOf(t, open(t, t.TempDir(), quiet()))
	for range 3 {
		for range 10 {
			p.put(1)
		}
		p.b.DrainRing()
		eventually(t, "an empty ring", func() bool { return p.ring.Used() == 0 })
		p.put(1) // while it is watched
		eventually(t, "an empty ring", func() bool { return p.ring.Used() == 0 })
	}
	wantRows(t, p.b, 34)
}

func TestRingWhileOthersReadAndFlush(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.FlushRows, o.CompactFragments = 500, 4 }))
	p := putterOf(t, b)
	var put atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for began := time.Now(); time.Since(began) < time.Second; {
			if !p.put(1) {
				p.call(1)
			}
			put.Store(p.next)
			if p.next%97 == 0 {
				b.DrainRing()
			}
		}
	}()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		least := put.Load()
		c, err := b.Read(max(least-100, 0), 1000, false)
		got := ids(t, c, err)
		if first := max(least-100, 0); int64(len(got)) < least-first || len(got) > 0 && got[0] != first {
			t.Fatalf("%d rows from %d on, %d were acknowledged", len(got), first, least)
		}
	}
	wantRows(t, b, p.next)
}

// TestLogFailsUnderRing: rows that were acknowledged stay visible, and the next opener finds them.
func TestLogFailsUnderRing(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		var failing atomic.Bool
		cause := errors.New("no more")
		hook := &faultfs.Hook{FS: vfs.OS, Before: func(op faultfs.Op) error {
			if failing.Load() && op.Name == "writeat" && strings.Contains(op.Path, ".wal") {
				return cause
			}
			return nil
		}}
		dir := t.TempDir()
		b, err := Open(dir, quiet(func(o *options.Options) { o.FS = hook }))
		must(t, err)
		p := putterOf(t, b)
		for range 20 {
			p.put(1)
		}
		wantRows(t, b, 21)
		failing.Store(true)
		for range 10 {
			p.put(1)
		}
		wantRows(t, b, 31)
		eventually(t, "a ring that is held", p.ring.Held)
		if _, _, err := b.Append(Message{p.columns, p.message(1)}, false); !errors.Is(err, engine.ErrPoisoned) || !errors.Is(err, cause) {
			t.Fatalf("an append after the log failed: %v", err)
		}
		wantRows(t, b, 31)
		p.ring.Put(p.message(1), 1, p.next) // did not see the hold
		wantRows(t, b, 32)
		if !flushed {
			again := open(t, killed(t, b), quiet())
			wantRows(t, again, 32)
			appendRows(t, again, 1)
			must(t, again.Close())
		}
		if err := b.Close(); !errors.Is(err, cause) {
			t.Fatalf("close: %v", err)
		}
		again := open(t, dir, quiet())
		wantRows(t, again, 32)
		appendRows(t, again, 1)
		must(t, again.Flush())
		wantRows(t, again, 33)
	}
}

func TestDamagedRing(t *testing.T) {
	p := putterOf(t, open(t, t.TempDir(), quiet()))
	for range 10 {
		p.put(1)
	}
	dir := killed(t, p.b)
	if x, err := inspect.Examine(dir, inspect.ExamineOptions{}); err != nil || !x.Sound || x.End != 11 || x.Ring.Rows == 0 {
		t.Errorf("examined: %+v, %v", x, err)
	}
	reader := openToRead(t, dir)
	wantRows(t, reader, 11)
	must(t, reader.Close())
	path := filepath.Join(dir, layout.RingFile)
	image, err := os.ReadFile(path)
	must(t, err)
	size := (24 + len(p.message(1)) + 7) &^ 7
	image[65536+4*size+100] ^= 4
	must(t, os.WriteFile(path, image, 0o600))

	x, err := inspect.Examine(dir, inspect.ExamineOptions{})
	must(t, err)
	if x.Sound || x.Faults[0].File != layout.RingFile {
		t.Errorf("examined: %+v", x.Faults)
	}
	if _, err := Open(dir, quiet()); !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("open: %v", err)
	}
	if _, err := OpenReadOnly(dir, quiet()); !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("open to read: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, image) {
		t.Fatalf("the ring was changed: %v", err)
	}
	done, err := inspect.Repair(dir, true, Salvage)
	must(t, err)
	if done.After == nil || !done.After.Sound || done.After.End != 5 {
		t.Fatalf("repaired: %+v", done)
	}
	again := open(t, dir, quiet())
	wantRows(t, again, 5)
	if kept, err := os.ReadFile(path + ".broken"); err != nil || !bytes.Equal(kept, image) {
		t.Errorf("the damaged ring was not kept: %v", err)
	}
}

// TestRingAfterTheMachineStopped: the disk may have any part of the ring, and less of the log.
func TestRingAfterTheMachineStopped(t *testing.T) {
	p := putterOf(t, open(t, t.TempDir(), quiet()))
	for range 5 {
		p.put(1)
	}
	wantRows(t, p.b, 6)
	short := killed(t, p.b) // the log has 6 rows, the ring none
	for range 5 {
		p.put(1)
	}
	dir := killed(t, p.b)
	path := filepath.Join(dir, layout.RingFile)
	image, err := os.ReadFile(path)
	must(t, err)
	image[40] ^= 1 // the boot
	binary.LittleEndian.PutUint32(image[12:], crc32.ChecksumIEEE(image[16:64]))
	open := func(image []byte) (rows int64) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "bucket")
		must(t, os.CopyFS(dir, os.DirFS(short)))
		must(t, os.WriteFile(filepath.Join(dir, layout.RingFile), image, 0o600))
		b, err := Open(dir, quiet())
		must(t, err)
		rows = b.Acknowledged()
		wantRows(t, b, rows)
		must(t, b.Close())
		return rows
	}
	if rows := open(image); rows != 11 {
		t.Errorf("%d rows, want 11", rows)
	}
	if rows := open(image[:65536]); rows != 6 {
		t.Errorf("%d rows of a ring that was cut, want 6", rows)
	}
	binary.LittleEndian.PutUint64(image[128:], binary.LittleEndian.Uint64(image[64:])-uint64(24+len(p.message(1))+7)&^7)
	if rows := open(image); rows != 6 {
		t.Errorf("%d rows, want 6: the ring begins behind what the log has", rows)
	}
}

func TestRingHoldsPutsBack(t *testing.T) {
	b := open(t, t.TempDir(), quiet(func(o *options.Options) { o.FlushBytes = 1 << 10 }))
	p := putterOf(t, b)
	for !p.ring.Held() {
		if !p.put(100) {
			b.DrainRing()
			time.Sleep(time.Millisecond)
		}
	}
	for p.ring.Held() {
		p.call(1)
	}
	if !p.put(1) {
		t.Error("no put after a flush")
	}
	wantRows(t, b, p.next)
}

func TestNoRing(t *testing.T) {
	synced := open(t, t.TempDir(), quiet(func(o *options.Options) { o.WALSyncInterval = 0 }))
	p := &putter{t: t, b: synced}
	p.columns, _ = batch.NewMessageSchema(numbered)
	p.encoder, _ = batch.NewEncoder(numbered)
	p.call(1)
	if next, err := synced.OpenRing(p.columns); next != -1 || err != nil {
		t.Errorf("a log that syncs each entry: %d, %v", next, err)
	}
	other, err := batch.NewMessageSchema(arrow.NewSchema([]arrow.Field{{Name: "int64", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil))
	must(t, err)
	q := putterOf(t, open(t, t.TempDir(), quiet()))
	if next, err := q.b.OpenRing(other); next != -1 || err != nil {
		t.Errorf("other columns: %d, %v", next, err)
	}
	q.put(1)
	q.b.ingest.appending.Lock()
	if _, err := q.b.OpenRing(q.columns); !errors.Is(err, engine.ErrWouldBlock) {
		t.Errorf("while the bucket is changed: %v", err)
	}
	if _, err := q.b.Read(0, 1, true); !errors.Is(err, engine.ErrWouldBlock) {
		t.Errorf("a read that must see what is in the ring: %v", err)
	}
	q.b.ingest.appending.Unlock()
	// The bucket may be about to take over what is in the ring, which takes the lock for a moment.
	eventually(t, "the ring is free", func() bool {
		_, err := q.b.OpenRing(q.columns)
		return !errors.Is(err, engine.ErrWouldBlock)
	})
	q.openRing()
	wantRows(t, q.b, 2)
}
