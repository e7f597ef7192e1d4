package trajectory

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/sheet"
	"github.com/persisting/persisting/vfs"
)

// Sheet is where a writer puts steps without a call, see package sheet. They are acknowledged as they lie there, as far as the end
// of the process goes, and seen once they were sent.
type Sheet struct {
	of   *sheets
	file *sheet.Sheet
	path string

	fill atomic.Int64 // how often the putter was given all of it

	mu    sync.Mutex // held over a send; taken before those of the store
	taken int64      // rows that the store has
	seen  int64      // rows at the last look
	over  bool       // nothing is taken any more
}

// taker is the store, as sheets see it.
type taker interface {
	// takeRows stores rows of a sheet.
	takeRows(file *sheet.Sheet, from, to int64) error
	// refused returns an error, but for one that tells that the steps of a sheet are none that the store can ever take.
	refused(path string, err error) error
}

// sheets are those of a store.
type sheets struct {
	to    taker
	fs    vfs.FS
	begin sync.Once // of the looks

	mu     sync.Mutex // guards what follows
	open   map[*Sheet]bool
	made   int64         // how many were
	over   bool          // there are no more
	stop   chan struct{} // ends the looks
	worker sync.WaitGroup
}

// Send stores what the sheet has and the store has not, and gives the putter all of it again. It is acknowledged as by
// [Store.Append], whose errors it has: after one the sheet is as it was.
func (h *Sheet) Send() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return engine.ErrClosed
	}
	if err := h.take(h.file.Count()); err != nil {
		return err
	}
	h.fill.Add(1)
	h.file.Clear()
	h.taken, h.seen = 0, 0
	return nil
}

// Ask has what the putter, which calls it, has put by now stored beside it, so that less is left for Send, which tells of errors.
func (h *Sheet) Ask() error {
	x := h.of
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.open[h] || x.over {
		return engine.ErrClosed
	}
	fill, count := h.fill.Load(), h.file.Count()
	x.worker.Go(func() { _ = h.takeBeside(fill, count) }) // an error stays until the next Send
	return nil
}

// takeBeside stores the rows up to a count, unless a Send came before.
func (h *Sheet) takeBeside(fill, count int64) (err error) {
	defer engine.Contain(&err)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || h.fill.Load() != fill {
		return nil
	}
	return h.take(count)
}

// take stores the rows up to a count. The caller holds h.mu.
func (h *Sheet) take(count int64) error {
	if count <= h.taken {
		return nil
	}
	if err := h.of.to.takeRows(h.file, h.taken, count); err != nil {
		return err
	}
	h.taken = count
	return nil
}

// Close stores what the sheet has and removes it. Nothing is left to do where the store was closed before.
func (h *Sheet) Close() error {
	x := h.of
	x.mu.Lock()
	delete(x.open, h)
	x.mu.Unlock()
	return h.end()
}

// end stores what the sheet has and removes it; after an error it stays for the next opening.
func (h *Sheet) end() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil
	}
	h.over = true
	if err := h.of.to.refused(h.path, h.take(h.file.Count())); err != nil {
		return err
	}
	return h.of.fs.Remove(h.path)
}

// look stores what was there at the look before.
func (h *Sheet) look() (err error) {
	defer engine.Contain(&err)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil
	}
	count := h.file.Count()
	err = h.take(min(h.seen, count))
	h.seen = count
	return err
}

func (x *sheets) all() []*Sheet {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make([]*Sheet, 0, len(x.open))
	for h := range x.open {
		all = append(all, h)
	}
	return all
}

// close stores what all sheets have, of which there are no more after that.
func (x *sheets) close() (err error) {
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	close(x.stop)
	x.worker.Wait()
	for _, h := range x.all() {
		err = errors.Join(err, h.Close())
	}
	return err
}
