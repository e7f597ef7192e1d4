package lance

// #include "persisting_native.h"
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// State is what the files of a table say of its versions.
type State struct {
	// Versions, the newest first. Those after the first sound one are not
	// checked with all their files.
	Versions []Version `json:"versions"`
	// Fragments of the newest version that can be read, if asked for.
	Fragments []Fragment `json:"fragments"`
}

// Version is one manifest.
type Version struct {
	Number    uint64  `json:"version"`
	Manifest  string  `json:"manifest"` // file, relative to the table
	Above     bool    `json:"above"`    // CheckOptions.Newest
	Seconds   *int64  `json:"seconds"`  // since 1970
	NextRowID int64   `json:"next_row_id"`
	Torn      *string `json:"torn"`    // why the manifest cannot be read
	Checked   bool    `json:"checked"` // whether what follows is known
	Rows      int64   `json:"rows"`
	Bytes     int64   `json:"bytes"`
	Flaws     []Flaw  `json:"flaws"`
}

// Sound says whether the manifest and all files that were checked are there.
func (v *Version) Sound() bool { return v.Readable() && len(v.Flaws) == 0 }

// Readable says whether the version was looked at and its manifest can be read.
func (v *Version) Readable() bool { return !v.Above && v.Torn == nil }

// Mendable says whether Mend can make the version a sound one.
func (v *Version) Mendable() bool {
	for _, f := range v.Flaws {
		// Without its deletions a version would have removed rows back, and where it is not known
		// which rows a file has, nobody could be told what is lost.
		if f.Kind == "deletions" || f.Rows == nil {
			return false
		}
	}
	return v.Readable()
}

// Flaw is a file of a version that is missing or short.
type Flaw struct {
	File string     `json:"file"` // relative to the table
	What string     `json:"what"`
	Kind string     `json:"kind"` // "data", "deletions" or "index"
	Rows [][2]int64 `json:"rows"` // ids of the rows in it, [first, end); nil when that is unknown
}

// Fragment is a part of the rows of a table.
type Fragment struct {
	ID    uint64     `json:"id"`
	Rows  [][2]int64 `json:"rows"` // their ids, [first, end), in the order of the files
	Bytes int64      `json:"bytes"`
	Files []string   `json:"files"`
}

// Newest returns the newest version that can be read, sound or not, or nil.
func (s *State) Newest() *Version {
	for i := range s.Versions {
		if s.Versions[i].Readable() {
			return &s.Versions[i]
		}
	}
	return nil
}

// Head returns the newest sound version, which [Heal] makes the head, or nil.
func (s *State) Head() *Version {
	for i := range s.Versions {
		if s.Versions[i].Sound() {
			return &s.Versions[i]
		}
	}
	return nil
}

// CheckOptions says what [Check] looks at.
type CheckOptions struct {
	// Newest is the version above which none is taken: versions that were not synced
	// yet when the power went may be damaged in ways that their sizes and footers do
	// not show. 0 is no bound.
	Newest uint64
	// Damaged is a version whose manifest is not what was written. 0 is none.
	Damaged uint64
	// Layout asks for the fragments.
	Layout bool
}

// Check looks at the files of the table in dir, which need not open, and
// changes nothing. A directory that does not exist gives no versions.
func Check(dir string, o CheckOptions) (State, error) {
	var state State
	if err := checkDir(dir); err != nil {
		return state, err
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return state, nil // which needs no library
	}
	text, err := nativeText("check", func(out, e *owned) status {
		return C.pn_check(cText(dir), C.uint64_t(o.Newest), C.uint64_t(o.Damaged), cFlag(o.Layout), out, e)
	})
	if err != nil {
		return state, in(dir, err)
	}
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		return state, fmt.Errorf("%w: description of %s: %w", ErrInternal, dir, err)
	}
	return state, nil
}

// Mend makes version the head and commits one after it that refers to none of
// the files that are missing or short: rows keep their ids, and columns in such
// files are null in them. It returns the manifests that it set aside, as Heal
// does. Nothing else is synced.
func Mend(dir string, version uint64) ([]string, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	hints, err := setAside(dir, unfitHint)
	if err != nil {
		return nil, err
	}
	renamed, err := nativeNames("mend", func(out, e *owned) status {
		return C.pn_mend(cText(dir), C.uint64_t(version), out, e)
	})
	// The hints first, as the mend commits a version, and Lance reads its hint when it commits.
	return append(hints, renamed...), in(dir, err)
}

// OpenForeign opens the newest version of a table that any program may have made, for
// reading, and only reads the disk. Ask it for rows through Query: in a table without
// stable row ids nothing can be found by its row id. It fails with fs.ErrNotExist when
// there is no table.
func OpenForeign(dir string) (*Snapshot, error) {
	if !Exists(dir) {
		return nil, &Error{Op: "open", Dir: dir, Msg: "no table", Err: fs.ErrNotExist}
	}
	return openVersion(dir, newest)
}

// OpenVersion opens one version of the table in dir for reading, and only reads
// the disk: the table may be one that Heal has not seen.
func OpenVersion(dir string, version uint64) (*Snapshot, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	return openVersion(dir, version)
}

// newest stands for the newest version.
const newest = 0

func openVersion(dir string, version uint64) (*Snapshot, error) {
	handle, err := native("open", func(out *snapshotHandle, e *owned) status {
		return C.pn_snapshot_open(cText(dir), C.uint64_t(version), out, e)
	})
	if err != nil {
		return nil, in(dir, err)
	}
	s, err := newSnapshot(handle, dir, nil)
	return s, in(dir, err)
}
