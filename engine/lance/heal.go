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
)

// Heal makes the newest sound version of the table in dir its head. Manifests of
// newer versions, which a crash left torn or without their data, and older ones
// that are torn, are renamed to *.manifest.corrupt; it returns their new names,
// relative to dir. When no version is sound all are set aside, and Open will
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
		if !strings.HasSuffix(e.Name(), manifestSuffix) {
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
	renamed, err := nativeHeal(dir, newest)
	if err != nil {
		return nil, in(dir, err)
	}
	if len(renamed) == 0 {
		return nil, nil
	}
	return renamed, nil
}
