package bucket

import (
	"testing"

	"github.com/persisting/persisting/engine/options"
)

func BenchmarkAppend(b *testing.B) {
	for name, change := range map[string]func(*options.Options){
		"log":         func(*options.Options) {},
		"synced log":  func(o *options.Options) { o.WALSyncInterval = 0 },
		"without log": func(o *options.Options) { o.EnableWAL = false },
	} {
		b.Run(name, func(b *testing.B) {
			bucket := open(b, b.TempDir(), quiet(change))
			rec := someRows(b, 0, 1)
			defer rec.Release()
			for b.Loop() {
				_, end, err := bucket.Append(Record{Rows: rec}, false)
				if err != nil {
					b.Fatal(err)
				}
				if err := bucket.Wait(background, end); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
