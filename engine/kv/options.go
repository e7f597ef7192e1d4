package kv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
)

// Options are those of a store. Units are in the names.
type Options struct {
	// CapacityBytes bounds what the directory takes; it may differ from one opening to the next. The default, 0, is that of the
	// opening before.
	CapacityBytes int64 `json:"capacity"`
	// SegmentBytes is the size of the segment files, a multiple of 4096. It is kept from the first opening on. The default, 0, is
	// a 64th of the capacity, at least 32 MiB or an eighth of the capacity if that is less, and at most 256 MiB, 1 GiB above 4 TB.
	SegmentBytes int64 `json:"segment_bytes"`
	// Policy says what is worth keeping: "s3fifo", "lru", "lfu" or "fifo". The default is "s3fifo".
	Policy string `json:"policy"`
	// Admission says which sets are stored: "all", or "second_hit", those of keys that were set or asked for before. The default
	// is "all".
	Admission string `json:"admission"`
	// Sync says when what was set is brought to the disk: "each" before the set returns, "interval" every second, "never" by the
	// operating system. The default is "interval".
	Sync string `json:"sync"`
	// TTL is the time that blocks live without one of their own, in seconds. The default, 0, is without limit.
	TTL float64 `json:"ttl"`
	// Workers is the number of blocks that are read at the same time; half as many are written. The default, 0, is 4 for each
	// processor, at most 32.
	Workers int `json:"workers"`
	// MaxStoreBacklogBytes bounds what submitted sets hold; more are refused. The default is 1 GiB.
	MaxStoreBacklogBytes int64 `json:"max_store_backlog"`
	// LoadDeadline is the time after which a load that has not begun is a miss, in seconds. The default is 5.
	LoadDeadline float64 `json:"load_deadline"`

	// ReadOnly is for those who only look: nothing in the directory is changed or locked, and it may be open elsewhere. What is
	// there is found as it was at the opening; blocks that the owner replaces or forgets afterwards are misses. The capacity and
	// what is said of writing have no meaning then.
	ReadOnly bool `json:"read_only"`

	// FS is the file system. The default is vfs.OS.
	FS vfs.FS `json:"-"`
	// Metrics is the set that the store's metrics become part of, unless it is read-only. The default is none.
	Metrics *metrics.Set `json:"-"`
	// Logger gets what goes wrong on the disk. The default is none.
	Logger *slog.Logger `json:"-"`

	// Now is the clock of expiries, leases and deadlines. The default is time.Now.
	Now func() time.Time `json:"-"`

	manual   bool // no background work, for tests
	unlocked bool // for file systems that have no locks
}

// OptionError is returned for options that are unknown or out of range. It lists all faults.
type OptionError struct{ Faults []string }

func (e *OptionError) Error() string { return "kv: invalid options: " + strings.Join(e.Faults, "; ") }

// ParseOptions reads options from a JSON object; names that are left out have their defaults.
func ParseOptions(text []byte) (Options, error) {
	var o Options
	if len(text) == 0 {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, &OptionError{Faults: []string{"JSON: " + err.Error()}}
	}
	return o, nil
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	set := func(at *string, value string) {
		if *at == "" {
			*at = value
		}
	}
	set(&o.Policy, "s3fifo")
	set(&o.Admission, "all")
	set(&o.Sync, "interval")
	if o.Workers == 0 {
		o.Workers = min(32, 4*runtime.GOMAXPROCS(0))
	}
	if o.MaxStoreBacklogBytes == 0 {
		o.MaxStoreBacklogBytes = 1 << 30
	}
	if o.LoadDeadline == 0 {
		o.LoadDeadline = 5
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes(o.CapacityBytes)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func defaultSegmentBytes(capacity int64) int64 {
	most := int64(256 << 20)
	if capacity > 4e12 {
		most = 1 << 30
	}
	size := min(most, max(capacity/64, min(32<<20, capacity/8)))
	return size / blob.PageBytes * blob.PageBytes
}

// minSegments is what rings need: one free, one open in each ring, and one to empty.
const minSegments = 4

// validate lists all faults of options that have their defaults.
func (o Options) validate() error {
	var faults []string
	check := func(ok bool, format string, a ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, a...))
		}
	}
	oneOf := func(name, value string, valid ...string) {
		for _, v := range valid {
			if v == value {
				return
			}
		}
		check(false, "%s is %q, want one of %q", name, value, valid)
	}
	if !o.ReadOnly {
		check(o.CapacityBytes >= minSegments*blob.MinSegmentBytes*2, "capacity is %d, want at least %d bytes", o.CapacityBytes, minSegments*blob.MinSegmentBytes*2)
		check(o.SegmentBytes >= blob.MinSegmentBytes && o.SegmentBytes%blob.PageBytes == 0 && o.SegmentBytes <= 64<<30,
			"segment_bytes is %d, want a multiple of %d from %d to %d", o.SegmentBytes, blob.PageBytes, blob.MinSegmentBytes, int64(64<<30))
	}
	oneOf("policy", o.Policy, "s3fifo", "lru", "lfu", "fifo")
	oneOf("admission", o.Admission, "all", "second_hit")
	oneOf("sync", o.Sync, "each", "interval", "never")
	check(o.TTL >= 0 && o.TTL < 1e9, "ttl is %v, want 0 to 1e9 seconds", o.TTL)
	check(o.Workers >= 1 && o.Workers <= 1024, "workers is %d, want 1 to 1024", o.Workers)
	check(o.MaxStoreBacklogBytes >= 0, "max_store_backlog is %d, want at least 0 bytes", o.MaxStoreBacklogBytes)
	check(o.LoadDeadline > 0 && o.LoadDeadline < 1e9, "load_deadline is %v, want up to 1e9 seconds", o.LoadDeadline)
	if faults != nil {
		return &OptionError{Faults: faults}
	}
	return nil
}
