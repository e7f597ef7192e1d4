package params

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/persisting/persisting/vfs"
)

// memLocks keep goroutines apart, for stores in memory.
type memLocks struct {
	gate   sync.RWMutex
	mu     sync.Mutex
	leases map[string]bool
}

func (l *memLocks) pass(alone bool) (func() error, error) {
	if alone {
		l.gate.Lock()
		return func() error { l.gate.Unlock(); return nil }, nil
	}
	l.gate.RLock()
	return func() error { l.gate.RUnlock(); return nil }, nil
}

func (l *memLocks) lease(name string) (func() error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leases == nil {
		l.leases = map[string]bool{}
	}
	l.leases[name] = true
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.leases, name)
		return nil
	}, nil
}

func (l *memLocks) leased(name string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leases[name], nil
}

func opened(t testing.TB, dir string, fsys vfs.FS) *Store {
	t.Helper()
	s, err := Open(dir, Options{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noise(rng *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := 0; i < size; i += 8 {
		copy(b[i:], binary.LittleEndian.AppendUint64(nil, rng.Uint64()))
	}
	return b
}

func tensorOf(name string, data []byte) Tensor {
	return Tensor{Name: name, DType: "U8", Shape: []int64{int64(len(data))}, Data: data}
}

func mustSave(t testing.TB, s *Store, name string, tensors []Tensor, o SaveOptions) *Entry {
	t.Helper()
	e, err := s.Save(name, tensors, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// loadAll reads all tensors of a version.
func loadAll(s *Store, name, ref string) (map[string][]byte, error) {
	v, err := s.Open(name, ref)
	if err != nil {
		return nil, err
	}
	found, err := v.all()
	if failed := v.Close(); err == nil {
		err = failed
	}
	return found, err
}

func (v *Weights) all() (map[string][]byte, error) {
	found := map[string][]byte{}
	var wants []Want
	for i, info := range v.Tensors() {
		into := make([]byte, info.Bytes)
		found[info.Name] = into
		wants = append(wants, Want{Tensor: i, Into: into})
	}
	return found, v.Load(wants, true)
}

// differs says how what was loaded is not what was saved.
func differs(found map[string][]byte, tensors []Tensor) error {
	if len(found) != len(tensors) {
		return fmt.Errorf("%d tensors, want %d", len(found), len(tensors))
	}
	for _, t := range tensors {
		if got, there := found[t.Name]; !there || !bytes.Equal(got, t.Data) {
			return fmt.Errorf("tensor %q (%d bytes) came back as another (%d bytes, there: %v)", t.Name, len(t.Data), len(got), there)
		}
	}
	return nil
}

func wantContains(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
}
