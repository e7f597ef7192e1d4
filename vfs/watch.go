package vfs

import (
	"errors"
	"os"
	"sync"
)

// watchFS is a file system that tells of changes.
type watchFS interface {
	// watch opens what can be read when a name in a directory has changed.
	watch(dir string) (*os.File, error)
}

// Watcher tells when names in a directory have changed: that there is a new one, or that one is another file.
type Watcher struct {
	events *os.File
	done   chan struct{}

	mu      sync.Mutex
	changed chan struct{}
}

// Watch begins to watch a directory. It fails with [errors.ErrUnsupported] on a file system that tells of nothing; one that several
// machines share tells only of what this one does.
func Watch(fsys FS, dir string) (*Watcher, error) {
	watching, ok := fsys.(watchFS)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	events, err := watching.watch(dir)
	if err != nil {
		return nil, err
	}
	w := &Watcher{events: events, done: make(chan struct{}), changed: make(chan struct{})}
	go w.run()
	return w, nil
}

// Changed is closed at the next change, and when the watcher is closed.
func (w *Watcher) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// run tells of events until the watcher is closed; which they are does not matter.
func (w *Watcher) run() {
	defer close(w.done)
	buffer := make([]byte, 4096)
	for {
		_, err := w.events.Read(buffer)
		w.mu.Lock()
		close(w.changed)
		if err != nil { // it is closed: whoever comes now need not wait
			w.mu.Unlock()
			return
		}
		w.changed = make(chan struct{})
		w.mu.Unlock()
	}
}

// Close ends the watch.
func (w *Watcher) Close() error {
	err := w.events.Close()
	<-w.done
	return err
}
