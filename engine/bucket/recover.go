package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/procs"
	"github.com/persisting/persisting/wal"
)

// recover brings the bucket to the state that was acknowledged before the last
// opener ended: the newest sound version of the table, and after it what the
// log holds. A bucket that is refused is left as it is, so that it is refused
// again, until a salvage is asked for: everything is looked at before anything is
// changed. Only a fault of the disk can come after that.
func (op *opening) recover() error {
	s, err := op.survey()
	defer s.release()
	if err != nil {
		return err
	}
	// All was looked at. From here on the directory is changed.
	if s.isNew {
		if err := op.baptise(); err != nil {
			return err
		}
	} else if err := op.home.FS.SyncDir(op.home.Path); err != nil { // an earlier opener may have been killed before
		return fmt.Errorf("engine: sync directory: %w", err)
	}
	if s.consumersLost {
		if err := op.consumers.Forget(); err != nil {
			return err
		}
	}
	// The table first: it says from which row on the log counts.
	if err := op.recoverTable(); err != nil {
		return err
	}
	if err := op.ingest.replay(s.rows); err != nil {
		return err
	}
	if s.log != nil {
		if err := op.openLog(s); err != nil {
			return err
		}
	}
	// The ring after the log, behind which its entries come.
	if err := op.replayRing(s); err != nil {
		return err
	}
	if s.marks != nil {
		if err := op.tasks.Recover(s.marks, op.rows.tail.Next()); err != nil {
			return err
		}
	}
	// A bucket that is opened without a log keeps what an opener with one has left in it, in the
	// table.
	if op.log == nil || op.opts.EnableWAL {
		return nil
	}
	return op.dropLog()
}

// baptise writes bucket.json for a new bucket.
func (op *opening) baptise() error {
	if err := layout.WriteIdentity(op.home.FS, op.identityPath(), op.id); err != nil {
		return err
	}
	// A directory above that this process may not read was there before.
	if err := op.home.FS.SyncDir(filepath.Dir(op.home.Path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("engine: write identity: %w", err)
	}
	return nil
}

// recoverTable opens the table at the version that the survey found, with its tags.
func (op *opening) recoverTable() error {
	if err := op.table.Recover(); err != nil {
		return err
	}
	op.recovered.versionsSetAside = op.table.SetAside()
	newest := op.table.Newest()
	if newest == nil {
		return nil
	}
	defer newest.Release()
	// Without locks, here and in what follows: nobody else knows the bucket yet.
	op.rows.checkpoint = newest.NextRowID()
	op.rows.tail.ContinueAt(op.rows.checkpoint)
	op.rows.setSchema(newest.Schema())
	return nil
}

// openLog opens the log that the survey has read.
func (op *opening) openLog(s *survey) error {
	if op.opts.WALSyncInterval == 0 {
		// Once for the process, when the first bucket of this kind is opened: others do without.
		forSyncedPuts()
	}
	log, report, err := s.log.Open()
	if err != nil {
		return fmt.Errorf("engine: open log: %w", err)
	}
	op.log = log
	// Told by the metrics and the statistics for as long as the bucket is open: a loss must not be
	// seen in a log message alone.
	op.recovered.replayed, op.recovered.torn, op.recovered.missing = report.Rows, report.TornBytes, report.Missing
	if s.lostLog {
		missing := wal.Range{First: op.rows.checkpoint, End: -1}
		op.recovered.missing = append(op.recovered.missing, missing)
		op.logger.Error("the log is gone", "rows", missing.String())
		if err := op.table.Marker().Logging(false); err != nil {
			return err
		}
	}
	if report.Rows > 0 || report.TornBytes > 0 {
		op.logger.Info("recovered from the log", "rows", report.Rows, "torn_bytes", report.TornBytes)
	}
	return nil
}

// leastProcs are Go's processors beside a log that syncs each entry: one is held by
// each thread that waits for the disk or for the next entry, and callers need more. On
// two processors one durable writer puts 2,707 records a second so and 2,398 with two of
// Go's (1.09 to 1.14 times in five pairs of processes in turns), 64 writers 26,666 and
// 24,709 (0.87 to 1.24 times).
const leastProcs = 4

// spareBytes is how much garbage synced puts may leave at least before it is
// collected. The heap of a bucket is so small that this would happen every second
// otherwise, several times, and each time take processors that puts need.
const spareBytes = 16 << 20

// forSyncedPuts gives Go what they need, on a small machine above all. What it returns
// is kept, and never touched: it takes no memory but that of the garbage.
var forSyncedPuts = sync.OnceValue(func() []byte {
	procs.AtLeast(leastProcs)
	return make([]byte, spareBytes)
})

// dropLog moves what the log holds into Lance and removes the log.
func (op *opening) dropLog() error {
	if err := op.flusher.flush(false); err != nil {
		return err
	}
	if err := op.log.Close(); err != nil {
		return fmt.Errorf("engine: close log: %w", err)
	}
	// All rows are in the table. The note goes before the files: a note of a log that is not there would be taken for a loss.
	op.log = nil
	if err := op.table.Marker().Logging(false); err != nil {
		return err
	}
	if err := op.home.Owned(); err != nil {
		return err
	}
	if err := os.RemoveAll(op.walPath()); err != nil {
		return fmt.Errorf("engine: remove log: %w", err)
	}
	return op.home.FS.SyncDir(op.home.Path)
}
