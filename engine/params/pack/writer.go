package pack

import (
	"errors"
	"fmt"
	"sync"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

const (
	// writeBytes is how much is written in one go, and writesAhead how much of that there is in memory. With three writes under
	// way the disk never waits: one thread reached 0.9 of what four do, measured with O_DIRECT on ext4 over virtio.
	writeBytes  = 4 << 20
	writesAhead = 6
	writers     = 3
	// lendBytes is from when on an object is written from where it lies. A smaller one shares a write with its neighbours.
	lendBytes = BlockBytes
)

// Writer fills a file from its beginning on, past the page cache where the file system can do that.
type Writer struct {
	f    vfs.File
	path string
	id   [16]byte
	// align is what addresses must be multiples of that are written from past the page cache; 0 where all goes through it.
	align int

	at      int64 // where the next byte goes
	buffer  []byte
	filled  int
	objects []Object

	free   chan []byte
	full   chan piece
	wait   sync.WaitGroup
	failed struct {
		sync.Mutex
		err error
	}
}

// piece is a part of the file that can be written: what is in a buffer, and then what is lent. Both fit into the buffer.
type piece struct {
	buffer []byte
	filled int
	lent   []byte // of the caller's memory
	off    int64
}

// Create makes the file. expected is about how long it becomes.
func Create(fsys vfs.FS, path string, id [16]byte, expected int64) (*Writer, error) {
	f, err := fsys.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{f: f, path: path, id: id, free: make(chan []byte, writesAhead), full: make(chan piece, writesAhead)}
	// What is reserved is written faster, and a disk that is full says so at once. It may be more than is needed, and then
	// the writes tell whether there is enough.
	if err := f.Preallocate(expected); err != nil && !noSpace(err) {
		return nil, errors.Join(err, f.Close(), fsys.Remove(path))
	}
	w.align = vfs.GoDirect(f)
	for range writesAhead {
		w.free <- nil
	}
	for range writers {
		w.wait.Add(1)
		go w.work()
	}
	w.buffer = w.take()
	w.append(header(id))
	return w, nil
}

// take returns a buffer, made when it is first needed.
func (w *Writer) take() []byte {
	b := <-w.free
	if b == nil {
		b = vfs.Aligned(writeBytes)
	}
	return b
}

func (w *Writer) work() {
	defer w.wait.Done()
	for p := range w.full {
		if w.err() == nil {
			if err := w.write(p); err != nil {
				w.fail(err)
			}
		}
		w.free <- p.buffer
	}
}

func (w *Writer) write(p piece) (err error) {
	defer engine.Contain(&err)
	var parts [][]byte
	for _, part := range [][]byte{p.buffer[:p.filled], p.lent} {
		if len(part) > 0 { // the kernel wants a good address even of nothing
			parts = append(parts, part)
		}
	}
	err = w.f.WriteAt(parts, p.off)
	if len(p.lent) > 0 && (errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EINVAL)) {
		// It is memory that only a processor can read, as some that devices map.
		n := p.filled + copy(p.buffer[p.filled:], p.lent)
		err = w.f.WriteAt([][]byte{p.buffer[:n]}, p.off)
	}
	return err
}

func (w *Writer) fail(err error) {
	w.failed.Lock()
	defer w.failed.Unlock()
	if w.failed.err == nil {
		w.failed.err = err
	}
}

func (w *Writer) err() error {
	w.failed.Lock()
	defer w.failed.Unlock()
	return w.failed.err
}

// append adds bytes; that it failed is said by Put and Seal.
func (w *Writer) append(b []byte) {
	for len(b) > 0 {
		n := copy(w.buffer[w.filled:], b)
		b = b[n:]
		w.advance(n)
	}
}

// zeros goes on to a place.
func (w *Writer) zeros(to int64) {
	for w.at < to {
		n := min(int64(writeBytes-w.filled), to-w.at)
		clear(w.buffer[w.filled : w.filled+int(n)])
		w.advance(int(n))
	}
}

func (w *Writer) advance(n int) {
	w.at += int64(n)
	if w.filled += n; w.filled == writeBytes {
		w.flush(nil)
	}
}

// flush has what is in the buffer written, and lent memory behind it.
func (w *Writer) flush(lent []byte) {
	w.full <- piece{w.buffer, w.filled, lent, w.at - int64(w.filled)}
	w.at += int64(len(lent))
	w.buffer, w.filled = w.take(), 0
}

// canLend says whether the disk can read an object that comes next where it lies: that is so of tensors of torch.
func (w *Writer) canLend(data []byte) bool {
	return w.align > 0 && len(data) >= lendBytes && (int64(vfs.Address(data))-w.at)%int64(w.align) == 0
}

// lend adds an object, whose pages are written from where they are; its first and last bytes go with those of its neighbours.
func (w *Writer) lend(data []byte) {
	head := int(-w.at & (PageBytes - 1))
	w.append(data[:head])
	tail := (len(data) - head) & (PageBytes - 1)
	for pages := data[head : len(data)-tail]; len(pages) > 0; {
		n := min(len(pages), writeBytes-w.filled)
		w.flush(pages[:n])
		pages = pages[n:]
	}
	w.append(data[len(data)-tail:])
}

// ID is the identity of the pack.
func (w *Writer) ID() [16]byte { return w.id }

// Size is how long the file is by now, of what was put.
func (w *Writer) Size() int64 { return w.at }

// Put adds an object and returns its place. Its memory must stay as it is until the file is sealed or abandoned.
func (w *Writer) Put(data []byte, blocks []Sum) (int64, error) {
	w.zeros(placeFor(w.at, int64(len(data))))
	at := w.at
	if w.canLend(data) {
		w.lend(data)
	} else {
		w.append(data)
	}
	w.objects = append(w.objects, Object{at, int64(len(data)), blocks})
	return at, w.err()
}

// Copy adds an object of another pack and returns its place. read brings it block by block; what it returns may change afterwards.
func (w *Writer) Copy(o *Object, read func(block int, from, to int64) ([]byte, error)) (int64, error) {
	w.zeros(placeFor(w.at, o.Length))
	at := w.at
	for block := range o.Blocks {
		from, to := Range(int64(block), o.Length)
		data, err := read(block, from, to)
		if err != nil {
			return 0, err
		}
		w.append(data)
	}
	w.objects = append(w.objects, Object{at, o.Length, o.Blocks})
	return at, w.err()
}

// placeFor is where an object begins that comes behind off.
func placeFor(off, length int64) int64 {
	if length < LargeBytes {
		return (off + Phase - 1) &^ (Phase - 1)
	}
	return (off+PageBytes-1)&^(PageBytes-1) + Phase
}

// Seal writes index and trailer and brings all to the disk.
func (w *Writer) Seal() error {
	w.zeros((w.at + PageBytes - 1) &^ (PageBytes - 1))
	w.append(endOf(w.id, w.at, w.objects))
	if w.filled > 0 {
		w.flush(nil)
	}
	w.stop()
	err := w.err()
	if err == nil {
		err = w.f.Truncate(w.at) // what was reserved and is not needed
	}
	if err == nil {
		err = w.f.Sync()
	}
	if err = errors.Join(err, w.f.Close()); err != nil {
		return fmt.Errorf("params: write %s: %w", w.path, err)
	}
	return nil
}

// Abandon ends the writing of a file that is removed then.
func (w *Writer) Abandon() error {
	w.stop()
	return w.f.Close()
}

func (w *Writer) stop() {
	close(w.full)
	w.wait.Wait()
}
