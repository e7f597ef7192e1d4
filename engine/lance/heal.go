package lance

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// ManifestPath is the file of a version of the table in dir. Names fall as versions
// rise, so that the newest comes first in a listing.
func ManifestPath(dir string, version uint64) string {
	return filepath.Join(dir, versionsDir, fmt.Sprintf("%020d%s", ^version, manifestSuffix))
}

// Heal makes the newest sound version of the table in dir, which [Check] has found
// in that state, its head. Manifests of newer versions, which a crash left torn or
// without their data, and older ones that are torn, are renamed to
// *.manifest.corrupt, and so is Lance's hint at the newest version when it is no
// small file; it returns their new names, relative to dir. When no version is sound
// all are set aside, and Open will find no table.
//
// Call it before Open; it must not run on a table that is open.
func Heal(dir string, state *State) ([]string, error) {
	head := state.Head()
	unsound := map[string]bool{}
	for i := range state.Versions {
		v := &state.Versions[i]
		newer := head == nil || v.Number > head.Number
		// Older ones that are sound in themselves stay: tags name them, and readers may have them
		// open.
		unsound[filepath.Base(v.Manifest)] = newer || !v.Readable()
	}
	return setAside(dir, func(e fs.DirEntry) bool { return unsound[e.Name()] || unfitHint(e) })
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
