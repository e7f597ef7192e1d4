package params

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
)

// measured opens a store whose metrics are counted, and returns what reads them.
func measured(t *testing.T, dir string) (*Store, func() metrics.ParametersStatus) {
	t.Helper()
	set := metrics.NewSet("", nil)
	s, err := Open(dir, Options{Metrics: set})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if left := len(set.AllParameters()); left != 0 {
			t.Errorf("%d stores have series after the end", left)
		}
	})
	return s, func() metrics.ParametersStatus {
		t.Helper()
		status := set.AllParameters()[0].Status()
		if status.ParametersState, err = s.survey(); err != nil { // that of the status may be some milliseconds old
			t.Error(err)
		}
		return status
	}
}

func mustOpen(t *testing.T, s *Store, name, ref string) *Weights {
	t.Helper()
	w, err := s.Open(name, ref)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestASaveSaysHowItsTensorsWereStored(t *testing.T) {
	s, status := measured(t, t.TempDir())
	h := newHistory(300_000)
	length := func(tensors []Tensor) (sum int64) {
		for _, tensor := range tensors {
			sum += int64(len(tensor.Data))
		}
		return sum
	}
	sum := metrics.SavedBytes{}
	account := func(tensors []Tensor, base string) metrics.SavedBytes {
		t.Helper()
		entry := mustSave(t, s, "m", tensors, SaveOptions{Base: base})
		all := status().SavedBytes
		got := metrics.SavedBytes{Shared: all.Shared - sum.Shared, Changed: all.Changed - sum.Changed, Whole: all.Whole - sum.Whole}
		if written := all.Written - sum.Written; written != entry.Stored {
			t.Errorf("%d bytes were written, and the catalog says %d", written, entry.Stored)
		}
		sum = all
		return got
	}
	first := h.versions[0]
	if got, want := account(first, ""), (metrics.SavedBytes{Whole: length(first)}); got != want {
		t.Errorf("the first version: %+v, want %+v", got, want)
	}
	next := h.step(5) // of which the layer changes in part, the number of the step as a whole, and one tensor not at all
	if got, want := account(next, Latest), (metrics.SavedBytes{Shared: 200_000, Changed: 600_000, Whole: 1}); got != want {
		t.Errorf("a step of training: %+v, want %+v", got, want)
	}
	if got, want := account(next, Latest), (metrics.SavedBytes{Shared: length(next)}); got != want {
		t.Errorf("the same again: %+v, want %+v", got, want)
	}
	tied := append(next, tensorOf("new", []byte("abc")), tensorOf("same", []byte("abc")))
	if got, want := account(tied, Latest), (metrics.SavedBytes{Shared: length(next) + 3, Whole: 3}); got != want {
		t.Errorf("two tensors with the same bytes: %+v, want %+v", got, want)
	}
}

func TestVersionsOfManyRanksCountAtTheirCommit(t *testing.T) {
	s, status := measured(t, t.TempDir())
	id, err := s.Begin("m", 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := status().Begun; got != 1 {
		t.Errorf("%d transactions are under way", got)
	}
	whole := tensorOf("w", make([]byte, 5000))
	if err := s.Part(id, 0, []Piece{{Tensor: whole, Whole: whole.Shape, Offsets: []int64{0}}}); err != nil {
		t.Fatal(err)
	}
	if got := status(); got.Saves != 0 {
		t.Errorf("before the commit: %+v", got)
	}
	entry, err := s.Commit(id, SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := status(); got.Saves != 1 || got.Whole != 5000 || got.Written != entry.Stored || got.Begun != 0 {
		t.Errorf("after it: %+v", got)
	}
}

func TestLoadsPullsAndTheirBytesAreCounted(t *testing.T) {
	s, status := measured(t, t.TempDir())
	h := newHistory(300_000)
	mustSave(t, s, "m", h.versions[0], SaveOptions{})
	mustSave(t, s, "m", h.step(5), SaveOptions{Base: Latest})
	before, after := mustOpen(t, s, "m", "1"), mustOpen(t, s, "m", "2")
	if got := status(); got.Open != 2 || got.Leases != 2 || got.Names != 1 || got.Versions != 2 || got.Newest == 0 {
		t.Errorf("with two versions open: %+v", got)
	}
	into := make([]byte, 600_000)
	want := []Want{{Tensor: 2, Into: into}}
	if err := before.Load(want, true); err != nil {
		t.Fatal(err)
	}
	pulled, err := after.Pull(before, want, true)
	if err != nil {
		t.Fatal(err)
	}
	got := status()
	if got.Loads != 1 || got.Loaded != 600_000 || got.Pulls != 1 || got.Pulled != 600_000 || got.PullRead != pulled.Read || pulled.Read == 0 {
		t.Errorf("%+v, and the pull says %+v", got, pulled)
	}
	if err := after.Load([]Want{{Tensor: 99}}, true); !errors.Is(err, ErrInvalid) {
		t.Errorf("a tensor that there is not: %v", err)
	}
	if again := status(); again.Loads != 1 || again.Faults != 0 {
		t.Errorf("a fault of the caller counts as %+v", again)
	}
	for _, w := range []*Weights{before, after} {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := status(); got.Open != 0 || got.Leases != 0 {
		t.Errorf("when both are closed: %+v", got)
	}
}

func TestDamageAndWhatGoesAreCounted(t *testing.T) {
	dir := t.TempDir()
	s, status := measured(t, dir)
	h := newHistory(300_000)
	mustSave(t, s, "m", h.versions[0], SaveOptions{})
	mustSave(t, s, "other", []Tensor{tensorOf("w", make([]byte, 7000))}, SaveOptions{})
	full := status()
	if full.Names != 2 || full.TensorBytes != 807_001 || full.DiskBytes < 807_001 || full.StoredBytes > full.DiskBytes {
		t.Errorf("with two names: %+v", full)
	}
	if err := s.Delete("other", nil); err != nil {
		t.Fatal(err)
	}
	collected, err := s.Collect()
	if err != nil {
		t.Fatal(err)
	}
	if got := status(); got.Names != 1 || got.DiskBytes != full.DiskBytes-collected.Bytes || collected.Bytes < 7000 {
		t.Errorf("after gc: %+v, which says %+v", got, collected)
	}
	paths, err := filepath.Glob(filepath.Join(dir, packs, "*"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%q, %v", paths, err)
	}
	content, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(paths[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := s.Verify("")
	if err != nil || report.Sound {
		t.Fatalf("%+v, %v", report, err)
	}
	if got := status().Faults; got != int64(len(report.Faults)) {
		t.Errorf("%d faults are counted of %q", got, report.Faults)
	}
}

func TestACatalogThatCannotBeReadIsAFault(t *testing.T) {
	set, dir := metrics.NewSet("", nil), t.TempDir()
	s, err := Open(dir, Options{Metrics: set})
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(10)
	mustSave(t, s, "m", h.versions[0], SaveOptions{})
	if got := set.AllParameters()[0].Status(); got.Versions != 1 || got.Faults != 0 {
		t.Fatalf("%+v", got)
	}
	flip(t, filepath.Join(dir, catalogDir, "m.cat"), h.rng)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // until what was found before is old
		got := set.AllParameters()[0].Status()
		if got.Versions != 1 {
			t.Fatalf("after the damage: %+v", got)
		}
		if got.Faults > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a damaged catalog is counted nowhere")
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestKindsOfErrors(t *testing.T) {
	for err, want := range map[error]metrics.Kind{
		nil: "", ErrClosed: metrics.Refused, invalid("no"): metrics.Refused, fmt.Errorf("%w: none", ErrNotFound): metrics.Refused,
		fmt.Errorf("%w: other", ErrConflict): metrics.Refused, errors.New("disk"): metrics.Storage,
		&ReadError{"w", errors.New("disk")}: metrics.Storage,
	} {
		if got := kindOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), Options{FS: vfs.OS, ReadOnly: true, Metrics: metrics.NewSet("", nil)}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a store that is not there: %v", err)
	}
}
