package bucket

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
)

// tree describes all that is below dir: what it is, how large, and what it holds.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		is := info.Mode().String()
		if !d.IsDir() {
			is += fmt.Sprintf(" %d bytes of %v", info.Size(), info.ModTime())
		}
		if info.Mode().IsRegular() && info.Size() < 1<<26 {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			is += string(b)
		}
		found[path] = is
		return nil
	}))
	return found
}

// sameTree checks that nothing has changed, come or gone.
func sameTree(t testing.TB, before, after map[string]string) {
	t.Helper()
	for path, was := range before {
		if is, there := after[path]; !there {
			t.Errorf("%s is gone", path)
		} else if is != was {
			t.Errorf("%s has changed", path)
		}
	}
	for path := range after {
		if _, there := before[path]; !there {
			t.Errorf("%s has come", path)
		}
	}
}

// TestRefusedAgainAndAgain opens damaged buckets: each time they are refused for the
// same reason and left as they are, until a salvage is asked for.
func TestRefusedAgainAndAgain(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string) error
		change func(*options.Options)
		want   string
		rows   int64 // after a salvage; -1: that is refused as well
	}{
		"the log is gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, "wal")) },
			want:   "there is no segment", rows: 120,
		},
		"all segments are gone": {
			damage: func(t *testing.T, dir string) error {
				return after(gone(filepath.Join(dir, "wal")), os.Mkdir(filepath.Join(dir, "wal"), 0o755))
			},
			want: "there is no segment", rows: 120,
		},
		"the log is gone and not asked for": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, "wal")) },
			change: func(o *options.Options) { o.EnableWAL = false },
			want:   "there is no segment", rows: 120,
		},
		"the log is damaged in the middle": {
			damage: func(t *testing.T, dir string) error {
				path := oldest(t, dir, 1)
				info, err := os.Stat(path)
				return after(err, flipped(info.Size()/2)(path))
			},
			want: "wal: corrupt", rows: 280,
		},
		"a segment in the middle is gone": {
			damage: func(t *testing.T, dir string) error { return gone(oldest(t, dir, 1)) },
			want:   "is missing", rows: 280,
		},
		"the log begins after the table": {
			damage: func(t *testing.T, dir string) error { return gone(oldest(t, dir, 0)) },
			want:   "rows 120 to 159 are missing", rows: 280,
		},
		"the end of the log is gone, with a version that was being made": {
			damage: func(t *testing.T, dir string) error {
				m := readMarkOf(t, dir)
				m.Changing, m.Rows = true, 1000
				newest := newestManifest(dir)
				next := lance.ManifestPath(filepath.Join(dir, table.Dir), m.Version+1)
				return after(asMark(m)(filepath.Join(dir, table.MarkFile)), os.Link(newest, next))
			},
			want: "were in the table", rows: -1,
		},
		"the log is damaged, with a version that was being made": {
			damage: func(t *testing.T, dir string) error {
				m := readMarkOf(t, dir)
				m.Changing = true
				next := lance.ManifestPath(filepath.Join(dir, table.Dir), m.Version+1)
				path := oldest(t, dir, 1)
				info, err := os.Stat(path)
				return after(after(after(err, flipped(info.Size()/2)(path)), asMark(m)(filepath.Join(dir, table.MarkFile))), os.Link(newestManifest(dir), next))
			},
			want: "wal: corrupt", rows: 280,
		},
		"the version that the mark names is damaged": {
			damage: func(_ *testing.T, dir string) error { return asHalf(newestManifest(dir)) },
			want:   "was on disk, and", rows: -1,
		},
		"the offsets of consumers are gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, layout.ConsumersFile)) },
			want:   layout.ConsumersFile, rows: 280,
		},
		"the offsets of consumers are damaged": {
			damage: func(_ *testing.T, dir string) error { return asHalf(filepath.Join(dir, layout.ConsumersFile)) },
			want:   layout.ConsumersFile, rows: 280,
		},
		"the tags are gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, table.TagsFile)) },
			want:   table.TagsFile, rows: 280,
		},
		"the version of a tag is gone": {
			damage: func(t *testing.T, dir string) error {
				return gone(lance.ManifestPath(filepath.Join(dir, table.Dir), 2))
			},
			want: "and so is the version", rows: 280,
		},
		"the version of a tag is torn": {
			damage: func(t *testing.T, dir string) error {
				return asHalf(lance.ManifestPath(filepath.Join(dir, table.Dir), 2))
			},
			want: `tag "old"`, rows: 280,
		},
		"the identity is another's": {
			damage: func(_ *testing.T, dir string) error {
				return asText(`{"format":1,"id":"` + hex.EncodeToString(make([]byte, 16)) + `"}`)(filepath.Join(dir, layout.IdentityFile))
			},
			want: "belongs to bucket", rows: -1,
		},
		"the identity is gone": {
			damage: func(_ *testing.T, dir string) error { return gone(filepath.Join(dir, layout.IdentityFile)) },
			want:   "is there and", rows: -1,
		},
		"the format is of another version": {
			damage: func(_ *testing.T, dir string) error {
				return asText(`{"format":2,"id":"` + hex.EncodeToString(make([]byte, 16)) + `"}`)(filepath.Join(dir, layout.IdentityFile))
			},
			want: "has format 2", rows: -1,
		},
		"the ring is damaged": {
			damage: func(_ *testing.T, dir string) error {
				return os.WriteFile(filepath.Join(dir, layout.RingFile), bytes.Repeat([]byte("x"), 2<<20), 0o644)
			},
			want: layout.RingFile, rows: 280,
		},
		"the options are wrong": {
			damage: func(*testing.T, string) error { return nil },
			change: func(o *options.Options) { o.FlushRows = -1 },
			want:   "flush", rows: -1,
		},
	} {
		for _, locked := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, with LOCK %t", name, locked), func(t *testing.T) {
				dir := tagged(t)
				must(t, c.damage(t, dir))
				if !locked {
					must(t, gone(filepath.Join(dir, "LOCK")))
				}
				before := tree(t, dir)
				o := quiet()
				if c.change != nil {
					c.change(&o)
				}
				var first string
				for range 3 {
					b, err := Open(dir, o)
					if err == nil {
						must(t, b.Close())
						t.Fatal("it opens")
					}
					if first == "" {
						first = err.Error()
					}
					if !strings.Contains(err.Error(), c.want) || err.Error() != first {
						t.Errorf("refused with %v, want %q", err, c.want)
					}
					sameTree(t, before, tree(t, dir))
				}
				o.WALRecovery = "salvage"
				b, err := Open(dir, o)
				if c.rows < 0 {
					if err == nil {
						must(t, b.Close())
						t.Fatal("a salvage opens it")
					}
					sameTree(t, before, tree(t, dir))
					return
				}
				must(t, err)
				if got := b.Stats().TotalCount; got != c.rows {
					t.Errorf("%d rows, want %d", got, c.rows)
				}
				must(t, b.Close())
				o.WALRecovery = "strict"
				b, err = Open(dir, o)
				must(t, err)
				must(t, b.Close())
			})
		}
	}
}

// tagged is a bucket at rest with a tag and a committed offset.
func tagged(t *testing.T) string {
	t.Helper()
	dir, _ := atRest(t)
	b := open(t, dir, quiet(func(o *options.Options) { o.FS = lazy{vfs.OS} }))
	must(t, b.Tag("old", 2))
	return crash(t, b.home.Path)
}

func readMarkOf(t *testing.T, dir string) table.Mark {
	t.Helper()
	m, err := table.ReadMarker(vfs.OS, dir)
	must(t, err)
	return m.Mark()
}

// TestRefusedWhileLocked leaves alone a bucket that another opener has.
func TestRefusedWhileLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	b := open(t, dir, quiet())
	appendRows(t, b, 5)
	before := tree(t, dir)
	for range 3 {
		_, err := Open(dir, quiet())
		var locked *engine.LockedError
		if !errors.As(err, &locked) || !locked.Here || !strings.Contains(err.Error(), "in this process already") || !strings.Contains(err.Error(), dir) {
			t.Errorf("got %v", err)
		}
	}
	sameTree(t, before, tree(t, dir))
	wantRows(t, b, 5)
}
