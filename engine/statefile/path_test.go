package statefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPathsAreResolvedAsTheSystemDoes(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(root, "real", "deep"), 0o755))
	must(t, os.Symlink("real/deep", filepath.Join(root, "link")))
	must(t, os.Symlink(filepath.Join(root, "real"), filepath.Join(root, "absolute")))
	must(t, os.Symlink("nothing/yet", filepath.Join(root, "dangling")))
	must(t, os.Symlink("circle", filepath.Join(root, "circle")))
	must(t, os.Symlink(root, filepath.Join(root, "real", "up")))
	t.Chdir(root)
	for path, want := range map[string]string{
		"q":                     "q",
		"./real//deep/":         "real/deep",
		"link/../q":             "real/q",
		"absolute/deep/../../q": "q",
		"dangling/q":            "nothing/yet/q",
		"missing/../q":          "q",
		"real/up/real/up/link":  "real/deep",
		"../../../../../../../": "/",
		"/":                     "/",
	} {
		if filepath.IsLocal(want) {
			want = filepath.Join(root, want)
		}
		got, err := RealPath(path)
		if err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", path, got, err, want)
		}
		if again, err := RealPath(got); err != nil || again != got {
			t.Errorf("%s is %s, %v, want itself", got, again, err)
		}
	}
	if got, err := RealPath("circle/q"); err == nil {
		t.Errorf("a circle is %s", got)
	}
}
