package options

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persisting/persisting/engine"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		text   string
		want   func(*Options)
		faults []string // pieces of the error; none for success
	}{
		"empty text":    {text: ""},
		"empty object":  {text: "{}"},
		"fraction":      {text: `{"wal_sync_interval": 0.25}`, want: func(o *Options) { o.WALSyncInterval = 250 * time.Millisecond }},
		"zero":          {text: `{"wal_sync_interval": 0, "flush_interval": 0, "compaction_threshold": 0}`, want: func(o *Options) { o.WALSyncInterval, o.FlushInterval, o.CompactFragments = 0, 0, 0 }},
		"several":       {text: `{"enable_wal": false, "compression": "zstd", "flush_threshold": 7}`, want: func(o *Options) { o.EnableWAL, o.Compression, o.FlushRows = false, "zstd", 7 }},
		"not an object": {text: `[1]`, faults: []string{"not a JSON object"}},
		"unknown":       {text: `{"wal_sync": 1}`, faults: []string{`"wal_sync"`, "enable_wal", "wal_sync_interval"}},
		"wrong type":    {text: `{"flush_threshold": "many"}`, faults: []string{"flush_threshold", "whole number", `"many"`}},
		"null":          {text: `{"enable_wal": null}`, faults: []string{"enable_wal", "true or false"}},
		"not whole":     {text: `{"flush_threshold": 1.5}`, faults: []string{"flush_threshold", "whole number"}},
		"negative time": {text: `{"wal_sync_interval": -1}`, faults: []string{"wal_sync_interval", "0 to 86400"}},
		"huge time":     {text: `{"flush_interval": 1e300}`, faults: []string{"flush_interval"}},
		"all faults":    {text: `{"flush_threshold": 0, "compression": "gzip", "compaction_threshold": 1}`, faults: []string{"flush_threshold", "gzip", "compaction_threshold"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(test.text))
			if test.faults == nil {
				want := Default()
				if test.want != nil {
					test.want(&want)
				}
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("got %+v, %v, want %+v", got, err, want)
				}
				return
			}
			var faults *engine.OptionError
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want an OptionError", err)
			}
			for _, piece := range test.faults {
				if !strings.Contains(err.Error(), piece) {
					t.Errorf("%q does not say %q", err, piece)
				}
			}
		})
	}
}

func TestDefaultsAreValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}
