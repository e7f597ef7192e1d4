package trajectory

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"time"

	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
)

// Options are what a store is opened with.
type Options struct {
	// SyncInterval is the longest time that acknowledged steps stay unsynced; 0 syncs before each acknowledgement. The default is 1 s.
	SyncInterval time.Duration
	// HotBytes is the most that copies of rows take from which samplers read, 64 MiB at least once there is a sampler. With 0 there are
	// none. The default is 1 GiB.
	HotBytes int64
	// ReadOnly reads beside a process that has the store open, what was there when it was opened, and changes nothing.
	ReadOnly bool

	// FS is where the logs lie. The default is the operating system's.
	FS vfs.FS
	// Metrics, Budget and Logger are those of both buckets, and Metrics those of the store besides. The defaults are those of package
	// bucket, and no metrics of the store.
	Metrics *metrics.Set
	Budget  *memory.Budget
	Logger  *slog.Logger
}

// DefaultOptions returns the defaults of all options.
func DefaultOptions() Options { return Options{SyncInterval: time.Second, HotBytes: 1 << 30} }

// ParseOptions reads options from a JSON object over the defaults; times are numbers of seconds.
func ParseOptions(text []byte) (Options, error) {
	o := DefaultOptions()
	given := struct {
		SyncInterval *float64 `json:"wal_sync_interval"`
		HotBytes     *int64   `json:"hot_bytes"`
	}{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&given); err != nil {
		return o, invalid("options: want a JSON object with wal_sync_interval and hot_bytes: %w", err)
	}
	if s := given.SyncInterval; s != nil {
		if math.IsNaN(*s) || *s < 0 || *s > 86400 {
			return o, invalid("wal_sync_interval is %g, want 0 to 86400 seconds", *s)
		}
		o.SyncInterval = time.Duration(*s * float64(time.Second))
	}
	if b := given.HotBytes; b != nil {
		if *b < 0 {
			return o, invalid("hot_bytes is %d, want 0 or more", *b)
		}
		o.HotBytes = *b
	}
	return o, nil
}

// bucket returns the options of a bucket of the store.
func (o Options) bucket() options.Options {
	b := options.Default()
	b.WALSyncInterval = o.SyncInterval
	b.FS, b.Metrics, b.Budget, b.Logger = o.FS, o.Metrics, o.Budget, o.Logger
	return b
}
