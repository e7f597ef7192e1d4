package params

import (
	"errors"
	"testing"
)

// TestProgress ends a save at each moment at which it says how far it is: nothing is left of it, and the next one succeeds. The
// last number is that of all bytes, whatever tensors are stored as.
func TestProgress(t *testing.T) {
	enough := errors.New("enough")
	s := opened(t, t.TempDir(), nil)
	h := newHistory(300_000, 5000)
	size := int64(0)
	for _, tensor := range h.versions[0] {
		size += int64(len(tensor.Data))
	}
	for version := range 9 {
		if version > 0 {
			h.step(8)
		}
		tensors := h.versions[version]
		for stop := 1; ; stop++ {
			calls, done := 0, int64(0)
			o := fromLatest
			o.Progress = func(now int64) error {
				if now < done {
					t.Errorf("%d bytes are done, and were %d before", now, done)
				}
				if calls, done = calls+1, now; calls == stop {
					return enough
				}
				return nil
			}
			_, err := s.Save("m", tensors, o)
			if err == nil {
				if done != size || calls < 4 {
					t.Errorf("version %d: %d of %d bytes in %d calls", version+1, done, size, calls)
				}
				break
			}
			if !errors.Is(err, enough) || len(staged(t, s)) != 0 {
				t.Fatalf("version %d, call %d: %v, left %v", version+1, stop, err, staged(t, s))
			}
		}
	}
	h.check(t, s)
	if c, err := s.Collect(); err != nil || c.Packs+c.Manifests+c.Staged != 0 {
		t.Errorf("something was left: %+v, %v", c, err)
	}
}
