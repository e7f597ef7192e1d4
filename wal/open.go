package wal

import (
	"github.com/persisting/persisting/wal/segment"
)

// Open opens the log in o.Dir and brings it in order after a crash. The table holds the rows below next; replay, which may be
// nil, gets every entry that reaches beyond, in order. An entry with First below next was flushed in part: the caller skips the
// rows that the table has. After a salvage there may be a jump in the offsets, listed in Report.Missing.
//
// Replay runs while the log is read. When Open returns an error, what was replayed is void and nothing was changed on disk,
// unless the error is that of a file operation after the log was found sound. The caller holds a lock on the directory.
func Open(o Options, next int64, replay func(segment.Entry) error) (*Log, Report, error) {
	r, report, err := Read(o, next, replay)
	if err != nil {
		return nil, report, err
	}
	return r.Open()
}

// Reading is a log that was read and found to be one that can be opened.
type Reading struct{ plan *plan }

// Read is the part of [Open] that changes nothing.
func Read(o Options, next int64, replay func(segment.Entry) error) (*Reading, Report, error) {
	p, err := openPlan(o, next, replay, true)
	if err != nil {
		return nil, p.report, err
	}
	return &Reading{p}, p.report, nil
}

// Open is the rest of [Open]: it brings the log in order. It is called once, while nothing else has changed the directory.
func (r *Reading) Open() (*Log, Report, error) {
	p := r.plan
	segments, err := p.apply()
	// Noted again: a crash may have come between the making of the first segment and the note.
	if err == nil && len(segments) > 0 {
		err = p.o.Standing(true)
	}
	if err != nil {
		return nil, p.report, err
	}
	p.log()
	l := &Log{
		o: p.o, segments: segments, sequence: p.sequence(),
		queue: &queue{}, taken: &queue{},
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	l.wake.L = &l.mu
	// All that was read is on the disk by now, see apply, and nobody waits for it any more.
	l.acked.Store(p.report.End)
	l.appended.Store(p.report.End)
	for _, s := range segments {
		l.size.Add(s.End())
	}
	if p.o.SyncInterval > 0 {
		l.syncer.Add(1)
		go l.syncInBackground()
	}
	go l.write()
	return l, p.report, nil
}

// Close writes and syncs what was appended, marks the end of the log and stops its goroutines. After a failure it returns the
// cause. A second Close returns ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	// Nothing is appended from here on. What is in the queue the writer writes before it ends.
	l.closing = true
	l.rouse()
	l.mu.Unlock()
	<-l.stopped
	return l.closeErr
}
