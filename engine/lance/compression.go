package lance

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
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

	// fsst is a compression of text and bytes that Lance chooses itself as well.
	fsst = "fsst"
)

// encodings are the values that Lance knows of keys that a user may set. Others fail
// when a page is written.
var encodings = map[string][]string{
	compressionKey: {"none", "lz4", "zstd", fsst},
	structureKey:   {"miniblock", "fullzip"},
}

// checkEncoding says what is wrong with a pair of the metadata of a field.
func checkEncoding(key, value string) error {
	if want, ok := encodings[key]; ok && !slices.Contains(want, value) {
		return fmt.Errorf("metadata key %q is %q, want one of %q", key, value, want)
	}
	if level, err := strconv.Atoi(value); key == levelKey && (err != nil || level < 1 || level > 22) {
		return fmt.Errorf("metadata key %q is %q, want 1 to 22", key, value)
	}
	return nil
}

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
		// Whoever wrote it into the schema wants that for this column, whatever the bucket has for
		// others.
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
		// It was put there by storedField: where a user had named one, the original is noted and
		// this is not asked.
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
