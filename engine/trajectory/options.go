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
	// ReadOnly reads beside a process that has the store open, what was there when it was opened, and changes nothing.
	ReadOnly bool

	// FS is where the logs lie. The default is the operating system's.
	FS vfs.FS
	// Metrics, Budget and Logger are those of both buckets. The defaults are those of package bucket.
	Metrics *metrics.Set
	Budget  *memory.Budget
	Logger  *slog.Logger
}

// DefaultOptions returns the defaults of all options.
func DefaultOptions() Options { return Options{SyncInterval: time.Second} }

// ParseOptions reads options from a JSON object over the defaults; times are numbers of seconds.
func ParseOptions(text []byte) (Options, error) {
	o := DefaultOptions()
	given := struct {
		SyncInterval *float64 `json:"wal_sync_interval"`
	}{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&given); err != nil {
		return o, invalid("options: want a JSON object with wal_sync_interval: %w", err)
	}
	if s := given.SyncInterval; s != nil {
		if math.IsNaN(*s) || *s < 0 || *s > 86400 {
			return o, invalid("wal_sync_interval is %g, want 0 to 86400 seconds", *s)
		}
		o.SyncInterval = time.Duration(*s * float64(time.Second))
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
