package table

import (
	"os"
	"time"

	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/vfs"
)

const (
	writebackEvery = 10 * time.Millisecond
	writebackFrom  = 4 << 20 // bytes of a file for which it pays
)

// writeback lets the disk write what is in the data files that Lance is making so far, again and
// again until the function that it returns is called: the sync that comes then has less to wait for.
func (t *Table) writeback() (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer t.panicked(new(error)) // which nobody waits for
		ticker := time.NewTicker(writebackEvery)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			for _, path := range lance.Unfinished(t.path) {
				if info, err := os.Stat(path); err == nil && info.Size() >= writebackFrom {
					vfs.StartWriteback(path)
				}
			}
		}
	}()
	// Waits for the end: a descriptor that is opened after the commit would be one more than was
	// spared.
	return func() { close(done); <-ended }
}
