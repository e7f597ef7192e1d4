package options

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
)

// Options says how a bucket is kept.
type Options struct {
	// EnableWAL writes each append to the log before it is acknowledged.
	// The default is true.
	EnableWAL bool

	// WALSyncInterval is the longest time that written log entries stay
	// unsynced; 0 syncs before each acknowledgement. The default is 1 s.
	WALSyncInterval time.Duration

	// MaxWALBytes is the size of the log that starts a flush; appends are held
	// back while the log is twice as large. The default is 512 MiB.
	MaxWALBytes int64

	// WALRecovery is "strict" or "salvage". The default is "strict".
	WALRecovery string

	// WALCompression is "none", "lz4" or "zstd", for the entries of the log that are
	// written. The default is "none".
	WALCompression string

	// FlushRows is the number of rows in the tail that starts a flush.
	// The default is 65,536.
	FlushRows int64

	// FlushBytes is the size of the tail that starts a flush; appends are held
	// back while the tail is half as large again. The default is 64 MiB.
	FlushBytes int64

	// FlushInterval is the time after which rows in the tail are flushed; 0
	// turns that off. The default is 5 s.
	FlushInterval time.Duration

	// CompactFragments is the number of fragments that starts a compaction, and a
	// quarter of the number of versions; 0 turns that off. Where a compaction has
	// left more than half as many, half as many new ones start the next. The
	// default is 32.
	CompactFragments int64

	// Compression of the columns in Lance that are made: "auto", "none", "lz4",
	// "zstd", or "zstd:1" to "zstd:22" for a level. The default is "auto".
	Compression string

	// ColumnCompression is that of columns with the given names.
	ColumnCompression map[string]string

	// CacheBytes bounds the memory for recent and for recently read rows that
	// are in Lance. The default is 64 MiB.
	CacheBytes int64

	// RetentionRows is how many of the newest rows are kept; 0 keeps all, which is
	// the default. The oldest are removed in the background, once there are an
	// eighth more, and by Compact.
	RetentionRows int64

	// RetentionBytes is likewise the size of the rows in the data files of the table.
	// The default is 0, which keeps all.
	RetentionBytes int64

	// RetentionAge is how long rows are kept after they came into the table, and up
	// to an eighth longer. The default is 0, which keeps all.
	RetentionAge time.Duration

	// EnableMetrics makes the bucket part of Metrics. The default is true.
	EnableMetrics bool

	// FS is where the log lies and what syncs the files of the table. The
	// default is the file system of the machine.
	FS vfs.FS

	// Metrics is the set that the bucket's metrics become part of. The default is
	// a set of its own.
	Metrics *metrics.Set

	// Budget is the memory that the bucket shares with others. The default is one
	// of its own.
	Budget *memory.Budget

	// Logger is told of recoveries and of faults in the background. The default
	// discards.
	Logger *slog.Logger

	// CutBytes is the size of the log from which a flush cuts it. Below it the flushed rows stay there as well, until a flush
	// that finds nothing to do: they are passed over when the bucket is opened. To end a segment and to begin the next takes
	// six syncs, of the fifteen of a put with a flush.
	CutBytes int64
}

// Default returns the defaults of all options.
func Default() Options {
	return Options{
		EnableWAL:        true,
		WALSyncInterval:  time.Second,
		MaxWALBytes:      512 << 20,
		WALRecovery:      "strict",
		WALCompression:   "none",
		FlushRows:        1 << 16,
		FlushBytes:       64 << 20,
		FlushInterval:    5 * time.Second,
		CompactFragments: 32,
		Compression:      "auto",
		CacheBytes:       64 << 20,
		EnableMetrics:    true,
		CutBytes:         MinWALBytes / 2,
	}
}

const (
	// MinWALBytes is the smallest bound of the size of a log.
	MinWALBytes  = 1 << 20
	maxInterval  = 24 * time.Hour
	minAge       = time.Millisecond
	maxAge       = 100 * 365 * 24 * time.Hour
	minimumBytes = 1 << 10
)

var recoveries = []string{"strict", "salvage"}

// setters maps the name of an option in JSON to what reads it.
var setters = map[string]func(*Options, json.RawMessage) error{
	"enable_wal":           func(o *Options, v json.RawMessage) error { return setBool(&o.EnableWAL, v) },
	"wal_sync_interval":    func(o *Options, v json.RawMessage) error { return setSeconds(&o.WALSyncInterval, v) },
	"max_wal_size":         func(o *Options, v json.RawMessage) error { return setInt(&o.MaxWALBytes, v) },
	"wal_recovery":         func(o *Options, v json.RawMessage) error { return setString(&o.WALRecovery, v) },
	"wal_compression":      func(o *Options, v json.RawMessage) error { return setString(&o.WALCompression, v) },
	"flush_threshold":      func(o *Options, v json.RawMessage) error { return setInt(&o.FlushRows, v) },
	"flush_bytes":          func(o *Options, v json.RawMessage) error { return setInt(&o.FlushBytes, v) },
	"flush_interval":       func(o *Options, v json.RawMessage) error { return setSeconds(&o.FlushInterval, v) },
	"compaction_threshold": func(o *Options, v json.RawMessage) error { return setInt(&o.CompactFragments, v) },
	"compression":          func(o *Options, v json.RawMessage) error { return setString(&o.Compression, v) },
	"column_compression": func(o *Options, v json.RawMessage) error {
		return unmarshal(&o.ColumnCompression, v, "an object of columns and compressions")
	},
	"cache_bytes":     func(o *Options, v json.RawMessage) error { return setInt(&o.CacheBytes, v) },
	"enable_metrics":  func(o *Options, v json.RawMessage) error { return setBool(&o.EnableMetrics, v) },
	"retention_rows":  func(o *Options, v json.RawMessage) error { return setBound(&o.RetentionRows, v, "rows") },
	"retention_bytes": func(o *Options, v json.RawMessage) error { return setBound(&o.RetentionBytes, v, "bytes") },
	"retention_age":   func(o *Options, v json.RawMessage) error { return setAge(&o.RetentionAge, v) },
}

// Names lists the names that [Parse] knows, in order.
func Names() []string {
	names := make([]string, 0, len(setters))
	for name := range setters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Parse reads options from a JSON object over the defaults. Times are
// numbers of seconds, sizes are numbers of bytes. The error is an
// [*OptionError] with all faults.
func Parse(text []byte) (Options, error) {
	o := Default()
	if len(bytes.TrimSpace(text)) == 0 {
		return o, nil
	}
	// Option by option and not into the struct: each fault gets its name, and all of them are told.
	var given map[string]json.RawMessage
	if err := json.Unmarshal(text, &given); err != nil {
		return o, &engine.OptionError{Faults: []string{"not a JSON object: " + err.Error()}}
	}
	var faults []string
	for name, value := range given {
		set, ok := setters[name]
		if !ok {
			faults = append(faults, fmt.Sprintf("unknown option %q, valid are %s", name, strings.Join(Names(), ", ")))
			continue
		}
		if err := set(&o, value); err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v, got %s", name, err, value))
		}
	}
	var more *engine.OptionError
	// What could not be read has its default still, of whose bounds there is nothing to say.
	if len(faults) == 0 {
		more = o.faults()
	}
	if more != nil {
		faults = append(faults, more.Faults...)
	}
	if len(faults) > 0 {
		// A map has no order, and a text that changes from run to run cannot be tested or looked
		// up.
		slices.Sort(faults)
		return o, &engine.OptionError{Faults: faults}
	}
	return o, nil
}

// Complete sets what the caller left out and needs no decision: where files lie, and who is told.
func (o *Options) Complete() {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet("", nil)
	}
	if o.Budget == nil {
		o.Budget = memory.NewBudget()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate returns an [*OptionError] with every value that is out of range.
func (o Options) Validate() error {
	if e := o.faults(); e != nil {
		return e
	}
	return nil
}

func (o Options) faults() *engine.OptionError {
	var faults []string
	// Each says what would be right, with the value that is not.
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	want(o.WALSyncInterval >= 0 && o.WALSyncInterval <= maxInterval, "wal_sync_interval: want 0 to %g seconds, got %g", maxInterval.Seconds(), o.WALSyncInterval.Seconds())
	want(o.MaxWALBytes >= MinWALBytes, "max_wal_size: want at least %d bytes, got %d", MinWALBytes, o.MaxWALBytes)
	want(slices.Contains(recoveries, o.WALRecovery), "wal_recovery: want one of %s, got %q", strings.Join(recoveries, ", "), o.WALRecovery)
	want(slices.Contains(batch.Compressions, o.WALCompression), "wal_compression: want one of %s, got %q", strings.Join(batch.Compressions, ", "), o.WALCompression)
	want(o.FlushRows >= 1, "flush_threshold: want at least 1 row, got %d", o.FlushRows)
	want(o.FlushBytes >= minimumBytes, "flush_bytes: want at least %d bytes, got %d", minimumBytes, o.FlushBytes)
	want(o.FlushInterval >= 0 && o.FlushInterval <= maxInterval, "flush_interval: want 0 (off) to %g seconds, got %g", maxInterval.Seconds(), o.FlushInterval.Seconds())
	want(o.CompactFragments == 0 || o.CompactFragments >= 2, "compaction_threshold: want 0 (off) or at least 2 fragments, got %d", o.CompactFragments)
	err := lance.CheckCompression(o.Compression)
	want(err == nil, "compression: %v", err)
	for column, name := range o.ColumnCompression {
		err := lance.CheckCompression(name)
		want(err == nil, "column_compression: column %q: %v", column, err)
	}
	want(o.RetentionRows >= 0, "retention_rows: want at least 1 row, or null to keep all, got %d", o.RetentionRows)
	want(o.RetentionBytes >= 0, "retention_bytes: want at least 1 byte, or null to keep all, got %d", o.RetentionBytes)
	want(o.RetentionAge >= 0 && o.RetentionAge <= maxAge, "retention_age: want 0.001 to %g seconds, or null to keep all, got %g", maxAge.Seconds(), o.RetentionAge.Seconds())
	want(o.CacheBytes >= 0, "cache_bytes: want at least 0 bytes, got %d", o.CacheBytes)
	if faults == nil {
		return nil
	}
	return &engine.OptionError{Faults: faults}
}

func setBool(dst *bool, v json.RawMessage) error { return unmarshal(dst, v, "true or false") }

func setString(dst *string, v json.RawMessage) error { return unmarshal(dst, v, "a string") }

func setInt(dst *int64, v json.RawMessage) error { return unmarshal(dst, v, "a whole number") }

func setSeconds(dst *time.Duration, v json.RawMessage) error {
	const want = "a number of seconds"
	var s float64
	if err := unmarshal(&s, v, want); err != nil {
		return err
	}
	// More than a Duration holds would come out as another time, maybe one within the bounds.
	if math.Abs(s) > maxInterval.Seconds()*10 {
		s = math.Copysign(maxInterval.Seconds()*10, s)
	}
	*dst = time.Duration(s * float64(time.Second))
	return nil
}

// setBound reads a bound; null is none, which is kept as 0.
func setBound(dst *int64, v json.RawMessage, unit string) error {
	want := fmt.Sprintf("a whole number of at least 1 %s, or null to keep all", unit)
	return unlessNull(dst, v, func() error {
		if err := unmarshal(dst, v, want); err != nil || *dst < 1 {
			return errors.New("want " + want)
		}
		return nil
	})
}

// setAge is setBound for a number of seconds.
func setAge(dst *time.Duration, v json.RawMessage) error {
	return unlessNull(dst, v, func() error {
		var s float64
		err := unmarshal(&s, v, "")
		if err != nil || s < minAge.Seconds() || s > maxAge.Seconds() {
			return fmt.Errorf("want a number of %g to %g seconds, or null to keep all", minAge.Seconds(), maxAge.Seconds())
		}
		*dst = time.Duration(s * float64(time.Second))
		return nil
	})
}

func unlessNull[T any](dst *T, v json.RawMessage, set func() error) error {
	if string(v) == "null" {
		var none T
		*dst = none
		return nil
	}
	return set()
}

func unmarshal[T any](dst *T, v json.RawMessage, want string) error {
	if string(v) == "null" || json.Unmarshal(v, dst) != nil {
		return fmt.Errorf("want %s", want)
	}
	return nil
}
