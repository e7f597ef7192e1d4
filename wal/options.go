package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal/segment"
)

// Defaults and bounds of Options.
const (
	DefaultSegmentBytes  = 64 << 20
	DefaultMaxEntryBytes = 1 << 30

	minSegmentBytes  = 1 << 10
	maxSegmentBytes  = 1 << 40
	maxMaxEntryBytes = 1 << 40
)

// Recovery says what Open does with a damaged log.
type Recovery uint8

const (
	// Strict refuses to open a damaged log and changes nothing on disk.
	Strict Recovery = iota
	// Salvage keeps every record that can still be read, moves damaged files aside and reports what is missing.
	Salvage
)

// String returns "strict" or "salvage".
func (r Recovery) String() string {
	switch r {
	case Strict:
		return "strict"
	case Salvage:
		return "salvage"
	default:
		return fmt.Sprintf("Recovery(%d)", uint8(r))
	}
}

// Observer receives measurements from the log's own goroutines. A nil function is not called; none may block.
type Observer struct {
	// Wrote is called after each group of entries was written with one call.
	Wrote func(entries int, bytes int64)
	// Synced is called after each fdatasync of entries.
	Synced func(took time.Duration)
}

// Options configure a Log.
type Options struct {
	// Dir is the directory of the log. It is made when it is missing.
	Dir string
	// FS is the file system. The default is OS.
	FS vfs.FS
	// Bucket is the identity that every segment carries; a segment of another bucket is refused with segment.ErrForeign.
	Bucket [16]byte
	// SegmentBytes is the size to which a segment is preallocated, 1 KiB to 1 TiB. An entry that does not fit gets a larger
	// segment. The default is 64 MiB.
	SegmentBytes int64
	// MaxEntryBytes is the largest body or preamble that is written or read, at most 1 TiB. The default is 1 GiB.
	MaxEntryBytes int64
	// SyncInterval selects when an entry is acknowledged. Zero: after an fdatasync, which all waiting entries share. Above
	// zero: after the write, with a background fdatasync at most every SyncInterval. The default is 0.
	SyncInterval time.Duration
	// Recovery says what Open does with a damaged log. The default is Strict.
	Recovery Recovery
	// OnAdvance is called by the writer goroutine, or within WriteNow, after the acknowledged offset moved and the callbacks of
	// those entries returned. It must not block and must not call Wait, Sync, Cut or Close. The default is none.
	OnAdvance func(acknowledged int64)
	// Standing is called with true before the first segment in the directory gets an entry, and with false before the last one is
	// removed. What it notes must be on disk when it returns: a log that is noted as standing and has no segment was lost. It runs
	// on any goroutine and must not call the log. The default is none.
	Standing func(bool) error
	// Panicked is called when a goroutine of the log, or a function that it called, has panicked, before the log fails for that.
	// It must not call the log, but for Abort. The default is none.
	Panicked func(error)
	// Observer receives measurements. The default is none.
	Observer Observer
	// Logger receives what was recovered, cut off or lost. The default discards.
	Logger *slog.Logger

	// live says that another process may be writing what is read.
	live bool
	// salt makes the salt of a new segment; golden files need a fixed one.
	salt func() uint32
}

// Validate returns all faults of the options, joined, or nil.
func (o Options) Validate() error {
	var faults []error
	refuse := func(format string, args ...any) { faults = append(faults, fmt.Errorf("wal: "+format, args...)) }
	if o.Dir == "" {
		refuse("Dir is empty")
	}
	// 0 stands for the default here and below.
	if o.SegmentBytes != 0 && (o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes) {
		refuse("SegmentBytes is %d, not within %d to %d", o.SegmentBytes, int64(minSegmentBytes), int64(maxSegmentBytes))
	}
	if o.MaxEntryBytes < 0 || o.MaxEntryBytes > maxMaxEntryBytes {
		refuse("MaxEntryBytes is %d, not within 1 to %d", o.MaxEntryBytes, int64(maxMaxEntryBytes))
	}
	if o.SyncInterval < 0 {
		refuse("SyncInterval is %s, below zero", o.SyncInterval)
	}
	if o.Recovery != Strict && o.Recovery != Salvage {
		refuse("Recovery is %d, neither Strict nor Salvage", o.Recovery)
	}
	return errors.Join(faults...)
}

func (o Options) fs() vfs.FS { return o.withDefaults().FS }

// withDefaults returns o with every unset field filled in.
func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.MaxEntryBytes == 0 {
		o.MaxEntryBytes = DefaultMaxEntryBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Standing == nil {
		o.Standing = func(bool) error { return nil }
	}
	if o.Panicked == nil {
		o.Panicked = func(error) {}
	}
	if o.salt == nil {
		o.salt = segment.RandomSalt
	}
	return o
}

// files returns the directory of the log.
func (o Options) files() segment.Dir { return segment.Dir{FS: o.FS, Path: o.Dir} }

// zeros reports whether a segment of that size is written once before it is used, which pays where each entry is synced: see
// [segment.Making]. One that was made for a single large entry is filled by it.
func (o Options) zeros(capacity int64) bool { return o.SyncInterval == 0 && capacity <= o.SegmentBytes }
