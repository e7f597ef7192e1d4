package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/persisting/persisting/vfs"
)

const (
	// TempSuffix ends the name of a file in the making, which means nothing after a crash.
	TempSuffix = ".tmp"
	// BrokenSuffix ends the name of a damaged segment that was moved aside.
	BrokenSuffix = ".broken"

	suffix      = ".wal"
	nameDigits  = 20
	maxSequence = 1 << 62 // so that there always is a next number
)

// Dir is a directory of segments.
type Dir struct {
	FS   vfs.FS
	Path string
}

// Name is a segment by the name of its file; what is in the file may say otherwise.
type Name struct {
	Path     string
	Sequence uint64
}

// Fault returns err with the place where it was found.
func (n Name) Fault(offset int64, err error) error {
	return &Error{Path: n.Path, Segment: n.Sequence, Offset: offset, Err: err}
}

// Name returns the segment of that number, whether it exists or not.
func (d Dir) Name(sequence uint64) Name {
	return Name{filepath.Join(d.Path, fmt.Sprintf("%0*d%s", nameDigits, sequence, suffix)), sequence}
}

// List returns the segments, by sequence number, and the paths of unfinished files. A directory that is missing has none of
// either; a name that ends like a segment's and is none is ErrForeign.
func (d Dir) List() (segments []Name, unfinished []string, err error) {
	names, err := d.FS.ReadDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		path := filepath.Join(d.Path, name)
		base, temp := strings.CutSuffix(name, TempSuffix)
		if temp {
			base = strings.TrimSuffix(base, BrokenSuffix)
		}
		// Other names are nobody's business: a person may keep notes there, and copies that end in
		// .broken stay.
		digits, isSegment := strings.CutSuffix(base, suffix)
		if !isSegment {
			continue
		}
		sequence, err := strconv.ParseUint(digits, 10, 64)
		switch {
		// With all its digits, so that the order of names is that of numbers, and no segment has
		// two names.
		case err != nil || len(digits) != nameDigits || sequence > maxSequence:
			return nil, nil, &Error{Path: path, Err: fmt.Errorf("%w: not the name of a segment", ErrForeign)}
		case temp:
			unfinished = append(unfinished, path)
		default:
			segments = append(segments, Name{path, sequence})
		}
	}
	return segments, unfinished, nil
}
