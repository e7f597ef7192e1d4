package lance

import (
	"errors"
	"fmt"
)

// Config says how a table is created and opened.
type Config struct {
	// Compression of the columns that are made: "auto" (Lance decides per column),
	// "none", "lz4", "zstd", or "zstd:1" to "zstd:22" for a level. The default is
	// "auto".
	Compression string
	// ColumnCompression is that of columns with the given names.
	ColumnCompression map[string]string
	// MetadataCacheBytes bounds the cache of manifests and file footers. The
	// default is 64 MiB.
	MetadataCacheBytes int64
	// IndexCacheBytes bounds the cache of opened indexes. The default is 64 MiB.
	IndexCacheBytes int64
	// IOBufferBytes bounds what one reader, or one compaction, reads ahead. The
	// default is 64 MiB.
	IOBufferBytes int64
	// OpenFragments bounds how many fragments the table holds open for small
	// reads. The default is 64.
	OpenFragments int
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Compression != "" {
		faults = append(faults, CheckCompression(c.Compression))
	}
	for _, name := range c.ColumnCompression {
		faults = append(faults, CheckCompression(name))
	}
	// 0 stands for the default of each.
	for name, v := range map[string]int64{
		"MetadataCacheBytes": c.MetadataCacheBytes,
		"IndexCacheBytes":    c.IndexCacheBytes,
		"IOBufferBytes":      c.IOBufferBytes,
		"OpenFragments":      int64(c.OpenFragments),
	} {
		if v < 0 {
			faults = append(faults, fmt.Errorf("%w: %s is negative", ErrInvalid, name))
		}
	}
	return errors.Join(faults...)
}

func (c Config) compressions() compressions { return compressions{c.Compression, c.ColumnCompression} }

// CompactOptions says what Compact does.
type CompactOptions struct {
	// TargetBytes is the size from which a fragment is left alone. The default
	// is 128 MiB.
	TargetBytes int64
	// MinFragments is how many neighbours it takes to make a merge worth it. The
	// default is 4.
	MinFragments int
	// MaxBytes bounds what one call rewrites; call again while CompactStats.More
	// is true. The default is eight times TargetBytes.
	MaxBytes int64
	// Thorough rewrites every fragment that has deleted rows or columns that are
	// gone. The default is to rewrite those that are a tenth empty.
	Thorough bool
}

// CompactStats says what Compact did.
type CompactStats struct {
	FragmentsRemoved int64
	FragmentsAdded   int64
	BytesRead        int64 // size of the data files that were replaced
	More             bool  // MaxBytes left some of the work undone
}

// CleanupStats says what Cleanup removed.
type CleanupStats struct {
	Versions int64
	Files    int64 // data, deletion, index and transaction files
	Bytes    int64
}
