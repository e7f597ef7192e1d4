package kv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/vfs"
)

// looking opens the store of a fixture to be looked at.
func (f *fixture) looking() *Store {
	f.t.Helper()
	o := f.o
	o.ReadOnly = true
	return open(f.t, "/kv", o)
}

func TestLookBesideTheOwner(t *testing.T) {
	f := newFixture(t, nil)
	other, err := f.Space("model", "salt")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		f.must(fmt.Sprintf("key %d", i), 100+i)
		if r := set(t, f.Store, other, fmt.Sprintf("other %d", i), payload("other", i, 5000)); r != transfer.OK {
			t.Fatal(r)
		}
		if i == 9 { // so that some are in the checkpoint, and some in the journal
			if err := f.checkpoint(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := f.looking()
	have, want := s.Stats(), f.Stats()
	if have.Keys != 40 || !maps.Equal(have.Namespaces, want.Namespaces) || have.CapacityBytes != f.o.CapacityBytes {
		t.Errorf("looked at: %+v\nwant %+v", have, want)
	}
	space, err := s.Space("model", "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if got := get(t, s, space, fmt.Sprintf("other %d", i)); !bytes.Equal(got, payload("other", i, 5000)) {
			t.Errorf("block %d is not there", i)
		}
	}
	if v, err := s.Verify(); err != nil || v.Keys != 40 || !v.Sound {
		t.Errorf("%+v, %v", v, err)
	}
	keys, next, err := s.Keys("model", Cursor{}, 100)
	if len(keys) != 20 || next != nil || err != nil {
		t.Errorf("%d keys, %v, %v", len(keys), next, err)
	}
}

func TestWhatTheOwnerReplacesIsAMissAndNoDamage(t *testing.T) {
	f := newFixture(t, nil)
	for _, key := range []string{"stays", "replaced", "deleted"} {
		f.must(key, 3000)
	}
	f.must("overwritten", 3000)
	s := f.looking()
	if r := set(t, f.Store, 0, "replaced", payload("replaced", 2, 3000)); r != transfer.OK {
		t.Fatal(r)
	}
	if ok, err := f.Delete(0, []byte("deleted")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if v, err := s.Verify(); err != nil || v.Keys != 2 || v.Gone != 2 || !v.Sound {
		t.Errorf("%+v, %v", v, err)
	}
	if got := get(t, s, 0, "stays"); !bytes.Equal(got, payload("stays", 1, 3000)) {
		t.Error("what nobody has changed is gone")
	}
	f.churn(5)
	for _, key := range []string{"replaced", "deleted", "overwritten"} {
		if get(t, s, 0, key) != nil {
			t.Errorf("%s is there", key)
		}
	}
	if v, err := s.Verify(); err != nil || !v.Sound || v.Keys != 0 {
		t.Errorf("%+v, %v", v, err)
	}
	if st := s.Stats(); st.Misses["damaged"] != 0 || st.Misses["failed"] != 0 {
		t.Errorf("misses %v", st.Misses)
	}
}

func TestLookWhileTheOwnerIsBusy(t *testing.T) {
	f := newFixture(t, nil)
	f.must("pinned", 5000)
	if ok, err := f.Pin(0, []byte("pinned")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			set(t, f.Store, 0, fmt.Sprint(i%300), payload("busy", i, 1000+i%9000))
			if i%10 == 0 {
				if err := f.checkpoint(false); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 50 {
		s := f.looking()
		if v, err := s.Verify(); err != nil || !v.Sound {
			t.Errorf("%+v, %v", v, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	busy.Wait()
}

func TestLookChangesNothing(t *testing.T) {
	dir := t.TempDir()
	o := tiny(vfs.OS)
	o.unlocked = false
	s := open(t, dir, o)
	space, err := s.Space("n", "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		set(t, s, space, fmt.Sprint(i), payload("x", i, 4000))
	}
	before := images(t, dir)
	o.ReadOnly = true
	looked := open(t, dir, o)
	if !strings.Contains(looked.Stats().InUseBy, fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("in use by %q", looked.Stats().InUseBy)
	}
	refused := map[string]func() error{
		"set":    func() error { return looked.Set(&transfer.Batch{}) },
		"submit": func() error { _, err := looked.SubmitSet(&transfer.Batch{}); return err },
		"delete": func() error { _, err := looked.Delete(0, nil); return err },
		"pin":    func() error { _, err := looked.Pin(0, nil); return err },
		"unpin":  func() error { _, err := looked.Unpin(0, nil); return err },
		"touch":  func() error { _, err := looked.Touch(0, nil, time.Second); return err },
		"drop":   func() error { _, err := looked.DropNamespace("n"); return err },
		"quota":  func() error { return looked.SetQuota("", 1) },
		"evict":  func() error { return looked.Evict(1 << 40) },
		"flush":  looked.Flush,
	}
	for name, call := range refused {
		if err := call(); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := looked.Verify(); err != nil || v.Keys != 30 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := looked.Close(); err != nil {
		t.Error(err)
	}
	if !maps.EqualFunc(before, images(t, dir), bytes.Equal) {
		t.Error("something was changed")
	}
}

func TestNothingToLookAt(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if s, err := Open(dir, Options{ReadOnly: true}); !errors.Is(err, ErrNoStore) {
			t.Errorf("%s: %v, %v", dir, s, err)
		}
		if entries, err := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
}

func TestVerifyFindsEveryDamagedBlock(t *testing.T) {
	dir := t.TempDir()
	o := tiny(vfs.OS)
	s := open(t, dir, o)
	if _, err := s.Space("", ""); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		set(t, s, 0, fmt.Sprint(i), payload("x", i, 4000))
	}
	var pages []int64
	for i := range uint32(10) {
		pages = append(pages, int64(s.openOfTest().entries.at(i).page)*4096)
	}
	path := s.blobs.Path(s.openOfTest().Slot)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, at := range []int64{pages[2] + 64, pages[5] + 4096 + 17} { // a key, and a payload
		if _, err := file.WriteAt([]byte{0xee}, at); err != nil {
			t.Fatal(err)
		}
	}
	v, err := s.Verify()
	if err != nil || v.Sound || v.Keys != 8 || len(v.Faults) != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	for i, fault := range v.Faults {
		if fault.File != path || !slices.Contains(pages, fault.Byte) || !strings.Contains(fault.What, "not sound") {
			t.Errorf("fault %d: %+v", i, fault)
		}
	}
	if s.Stats().Keys != 10 {
		t.Error("a look has dropped a block")
	}
}

func (s *Store) openOfTest() *segment { return s.rings.openOf(s.policy.first(false)) }

func TestEvictDownTo(t *testing.T) {
	f := newFixture(t, nil)
	f.churn(2)
	before := f.Stats()
	down := f.o.CapacityBytes / 2
	if err := f.Evict(down); err != nil {
		t.Fatal(err)
	}
	after := f.Stats()
	if after.DiskBytes > down || after.Keys == 0 || after.Keys >= before.Keys || after.CapacityBytes != before.CapacityBytes {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if err := f.Evict(1); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	f.churn(3)
	if again := f.Stats(); again.DiskBytes <= down || again.DiskBytes > f.o.CapacityBytes {
		t.Errorf("filled again: %+v", again)
	}
}

func TestTheCapacityIsKnownToTheNextOpening(t *testing.T) {
	f := newFixture(t, nil)
	f.must("key", 100)
	capacity := f.o.CapacityBytes
	f.o.CapacityBytes = 0
	f.reopen()
	if st := f.Stats(); st.CapacityBytes != capacity || st.Keys != 1 {
		t.Errorf("%+v", st)
	}
	f.o.CapacityBytes = capacity / 2
	f.reopen()
	f.o.CapacityBytes = 0
	f.reopen()
	if st := f.Stats(); st.CapacityBytes != capacity/2 {
		t.Errorf("%+v", st)
	}
	var wrong *OptionError
	if _, err := Open("/new", f.o); !errors.As(err, &wrong) {
		t.Error(err)
	}
}
