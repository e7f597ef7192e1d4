package lance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	versionsDir    = "_versions"
	manifestSuffix = ".manifest"
	asideSuffix    = ".corrupt"

	// Lance reads this file as a whole when it commits.
	hintFile     = "latest_version_hint.json"
	maxHintBytes = 4 << 10
)

// Heal makes the newest sound version of the table in dir its head. Manifests of
// newer versions, which a crash left torn or without their data, and older ones
// that are torn, are renamed to *.manifest.corrupt, and so is Lance's hint at the
// newest version when it is no small file; it returns their new names, relative
// to dir. When no version is sound all are set aside, and Open will
// find no table. A directory that does not exist, or needs nothing, gives nil.
//
// Call it before Open; it must not run on a table that is open.
func Heal(dir string) ([]string, error) { return heal(dir, 0) }

// HealTo does what Heal does and sets aside all versions above newest as well:
// those that were not synced yet when the power went, and whose files may be
// damaged in ways that their sizes and footers do not show.
func HealTo(dir string, newest uint64) ([]string, error) {
	if newest == 0 {
		return nil, ErrInvalid
	}
	return heal(dir, newest)
}

// Discard sets all versions of the table aside, so that Open finds no table, and
// returns what Heal returns.
func Discard(dir string) ([]string, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	return setAside(dir, func(e fs.DirEntry) bool {
		return strings.HasSuffix(e.Name(), manifestSuffix) || unfitHint(e)
	})
}

// setAside renames the files among the versions that match.
func setAside(dir string, match func(fs.DirEntry) bool) ([]string, error) {
	versions := filepath.Join(dir, versionsDir)
	entries, err := os.ReadDir(versions)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Op: "heal", Dir: dir, Msg: err.Error(), Err: ErrIO}
	}
	var renamed []string
	for _, e := range entries {
		if !match(e) {
			continue
		}
		aside := e.Name() + asideSuffix
		err = errors.Join(err, os.Rename(filepath.Join(versions, e.Name()), filepath.Join(versions, aside)))
		renamed = append(renamed, versionsDir+"/"+aside)
	}
	if err == nil && renamed != nil {
		err = syncDir(versions)
	}
	if err != nil {
		return nil, &Error{Op: "heal", Dir: dir, Msg: err.Error(), Err: ErrIO}
	}
	return renamed, nil
}

// unfitHint says whether e is a hint that Lance could not read, or not in little
// memory.
func unfitHint(e fs.DirEntry) bool {
	if e.Name() != hintFile {
		return false
	}
	info, err := e.Info()
	return err == nil && (!info.Mode().IsRegular() || info.Size() > maxHintBytes)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func heal(dir string, newest uint64) ([]string, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	hints, err := setAside(dir, unfitHint)
	if err != nil {
		return nil, err
	}
	renamed, err := nativeHeal(dir, newest)
	return append(hints, renamed...), in(dir, err)
}
