package lance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	versionsDir    = "_versions"
	manifestSuffix = ".manifest"
	asideSuffix    = ".corrupt"

	// Lance reads this file as a whole when it commits.
	hintFile     = "latest_version_hint.json"
	maxHintBytes = 4 << 10
)

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
		// Renamed and never removed: what was taken for damage may be all that there is of some
		// rows.
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
