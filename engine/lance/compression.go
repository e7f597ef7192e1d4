package lance

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
)

const (
	compressionKey = "lance-encoding:compression"
	levelKey       = "lance-encoding:compression-level"

	// Values of varying length are compressed in blocks of many, not one by one:
	// that takes less space, and less time to undo.
	structureKey = "lance-encoding:structural-encoding"
	blockKey     = "lance-encoding:minichunk-size"
	blockBytes   = "32768"
)

var compressionPattern = regexp.MustCompile(`^(auto|none|lz4|zstd(:([1-9]|1[0-9]|2[0-2]))?)$`)

// CheckCompression says, with ErrInvalid, what is wrong with the name of a
// compression.
func CheckCompression(name string) error {
	if compressionPattern.MatchString(name) {
		return nil
	}
	return fmt.Errorf("%w: compression %q: want auto, none, lz4, zstd, or zstd:1 to zstd:22 for a level", ErrInvalid, name)
}

// compressions are those of new columns.
type compressions struct {
	table   string            // of those that columns does not name
	columns map[string]string // by name
}

func (c compressions) of(column string) string {
	if name, ok := c.columns[column]; ok {
		return name
	}
	return c.table
}

// compressField asks for a compression at every leaf of f that says nothing
// about it.
func compressField(f arrow.Field, compression string) arrow.Field {
	if compression == "" || compression == "auto" {
		return f
	}
	name, level, leveled := strings.Cut(compression, ":")
	return mapLeaves(f, func(leaf arrow.Field) arrow.Field {
		if leaf.Metadata.FindKey(compressionKey) >= 0 {
			return leaf
		}
		leaf.Metadata = withKey(leaf.Metadata, compressionKey, name)
		if leveled {
			leaf.Metadata = withKey(leaf.Metadata, levelKey, level)
		}
		_, varying := leaf.Type.(arrow.BinaryDataType)
		if varying && name != "none" && leaf.Metadata.FindKey(structureKey) < 0 {
			leaf.Metadata = withKey(leaf.Metadata, structureKey, "miniblock")
			leaf.Metadata = withKey(leaf.Metadata, blockKey, blockBytes)
		}
		return leaf
	})
}

func uncompressField(f arrow.Field) arrow.Field {
	return mapLeaves(f, func(leaf arrow.Field) arrow.Field {
		leaf.Metadata = withoutKey(withoutKey(leaf.Metadata, compressionKey), levelKey)
		if leaf.Metadata.FindKey(blockKey) >= 0 { // else a user chose the structure
			leaf.Metadata = withoutKey(withoutKey(leaf.Metadata, structureKey), blockKey)
		}
		return leaf
	})
}

// namesCompression says whether the metadata of a field ask for one.
func namesCompression(f arrow.Field) bool {
	return f.Metadata.FindKey(compressionKey) >= 0 || f.Metadata.FindKey(levelKey) >= 0
}
