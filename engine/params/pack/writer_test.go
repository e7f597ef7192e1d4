package pack

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

// watched are the files of a file system, which says what is written from some memory, or refuses to.
type watched struct {
	vfs.FS
	memory []byte
	refuse error

	mu    sync.Mutex
	bytes int // that were to be written from it
}

type watchedFile struct {
	vfs.File
	fs *watched
}

func (w *watched) Create(path string) (vfs.File, error) {
	f, err := w.FS.Create(path)
	return watchedFile{f, w}, err
}

func (f watchedFile) WriteAt(pieces [][]byte, off int64) error {
	lent := 0
	for _, p := range pieces {
		if begin := vfs.Address(f.fs.memory); vfs.Address(p) >= begin && vfs.Address(p) < begin+uintptr(len(f.fs.memory)) {
			lent += len(p)
		}
	}
	f.fs.mu.Lock()
	f.fs.bytes += lent
	f.fs.mu.Unlock()
	if lent > 0 && f.fs.refuse != nil {
		return f.fs.refuse
	}
	return f.File.WriteAt(pieces, off)
}

// TestLent writes objects of all sizes and at all places in memory: those that lie as in the file are written from there, and
// through a buffer where the system cannot do that.
func TestLent(t *testing.T) {
	for name, c := range map[string]struct {
		refuse error
		at     int // of the memory, behind a multiple of PageBytes
		lends  bool
	}{
		"lies as in the file":      {nil, Phase, true},
		"only processors can read": {unix.EFAULT, Phase, true},
		"lies otherwise":           {nil, Phase + 16, false},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(11, 12))
			sizes := []int{1, lendBytes - 1, lendBytes, 100, lendBytes + Phase, lendBytes + PageBytes - Phase, writeBytes, 2*writeBytes + 77, LargeBytes, 3 * writeBytes}
			memory := vfs.Aligned(PageBytes + 4*writeBytes)[c.at:]
			path, id := filepath.Join(t.TempDir(), "pack"), [16]byte{1}
			w, err := Create(&watched{FS: vfs.OS, memory: memory, refuse: c.refuse}, path, id, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			w.align = 512 // as if it were written past the page cache
			fs := w.f.(watchedFile).fs
			var saved [][]byte
			large := 0
			for _, size := range sizes {
				if size >= lendBytes {
					large += size
				}
				data := noise(rng, size+8)[:size]
				saved = append(saved, data)
				lies := memory[:size]
				copy(lies, data)
				if _, err := w.Put(lies, Sums(lies)); err != nil {
					t.Fatal(err)
				}
				w.settle()
			}
			if err := w.Seal(); err != nil {
				t.Fatal(err)
			}
			if spared := fs.bytes > large-len(sizes)*2*PageBytes; spared != c.lends || fs.bytes > 0 != c.lends {
				t.Errorf("%d bytes of %d were lent", fs.bytes, large)
			}
			checkPack(t, path, id, saved)
		})
	}
}

// settle waits until what was lent so far is written.
func (w *Writer) settle() {
	var all [][]byte
	for range writesAhead - 1 {
		all = append(all, <-w.free)
	}
	for _, b := range all {
		w.free <- b
	}
}

func noise(rng *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := 0; i < size; i += 8 {
		copy(b[i:], binary.LittleEndian.AppendUint64(nil, rng.Uint64()))
	}
	return b
}

func checkPack(t *testing.T, path string, id [16]byte, saved [][]byte) {
	t.Helper()
	objects, err := Read(vfs.OS, path, id)
	if err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, o := range objects {
		found := make([]byte, o.Length)
		if err := vfs.ReadPieces(f, [][]byte{found}, o.Offset); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(found, saved[i]) {
			t.Errorf("object %d of %d bytes is another in the file", i, len(saved[i]))
		}
	}
	if len(objects) != len(saved) {
		t.Errorf("%d objects, want %d", len(objects), len(saved))
	}
}
