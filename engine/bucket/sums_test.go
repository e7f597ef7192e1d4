package bucket

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
)

// TestExamineNoticesEveryByte flips bytes of the files of a table, most of which
// can be decoded all the same.
func TestExamineNoticesEveryByte(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet())
	for range 2 {
		appendRows(t, b, 40)
		must(t, b.Flush())
	}
	_, err := b.Delete("id = 7")
	must(t, err)
	must(t, b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}))
	must(t, b.Close())
	if x := examine(t, b.home.Path); !x.Sound || x.Table.Unsummed > 0 || !x.Table.RowsRead {
		t.Fatalf("%+v", x)
	}
	decoded := 0
	for _, pattern := range []string{"data/*.lance", "_deletions/*", "_indices/*/*"} {
		files, err := filepath.Glob(filepath.Join(b.table.Path(), pattern))
		must(t, err)
		if len(files) == 0 {
			t.Fatalf("there is no %s", pattern)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			for at := 0; at < len(text); at += 1 + len(text)/20 {
				must(t, flipped(int64(at))(file))
				x, err := inspect.Examine(b.home.Path, inspect.ExamineOptions{ReadRows: true})
				must(t, err)
				must(t, os.WriteFile(file, text, 0o644))
				if x.Sound || !strings.Contains(x.Faults[len(x.Faults)-1].File, filepath.Base(file)) {
					t.Fatalf("byte %d of %s: %+v", at, file, x.Faults)
				}
				if len(x.Faults) == 1 && x.Table.RowsRead {
					decoded++
				}
			}
		}
	}
	if decoded < 20 {
		t.Errorf("only %d changes could be decoded", decoded)
	}
}

// TestEveryByteOfTheManifestCounts opens tables whose manifest is not the one that
// was written, however well it can be read.
func TestEveryByteOfTheManifestCounts(t *testing.T) {
	dir, _ := atRest(t)
	path := newestManifest(dir)
	text, err := os.ReadFile(path)
	must(t, err)
	m, err := table.ReadMarker(vfs.OS, dir)
	must(t, err)
	decoded := 0
	for at := range text {
		must(t, flipped(int64(at))(path))
		if state, err := lance.Check(filepath.Join(dir, table.Dir), lance.CheckOptions{}); err == nil && state.Head().Number == m.Mark().Version {
			decoded++
		}
		state, err := table.Check(filepath.Join(dir, table.Dir), m.Mark(), false)
		if err != nil || state.Head() == nil || state.Head().Number != m.Mark().Version-1 {
			t.Fatalf("byte %d: %+v, %v", at, state, err)
		}
		if at%100 == 0 {
			unchanged(t, dir, func() {
				if _, err := Open(dir, quiet()); !errors.Is(err, engine.ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(path)) {
					t.Errorf("opened with byte %d flipped: %v", at, err)
				}
			})
		}
		must(t, os.WriteFile(path, text, 0o644))
	}
	if decoded < 20 {
		t.Errorf("only %d changes could be decoded", decoded)
	}
}

func TestATableWithoutSumsIsSound(t *testing.T) {
	for name, with := range map[string]func(string) error{
		"gone": gone, "a directory": asDirectory, "a pipe": asPipe, "a loop": asLoop, "foreign": asFile, "a giant": asGiant,
		"torn": func(path string) error {
			text, err := os.ReadFile(path)
			return after(err, os.WriteFile(path, text[:len(text)-5], 0o644))
		},
		"flipped": flipped(20),
	} {
		t.Run(name, func(t *testing.T) {
			dir, rows := atRest(t)
			replaced(t, dir, table.SumsFile, with)
			look := func() inspect.Examination {
				x, err := inspect.Examine(dir, inspect.ExamineOptions{ReadRows: true})
				must(t, err)
				return x
			}
			x := look()
			if most := 3; !x.Sound || x.Table.Unsummed < 1 || x.Table.Unsummed > most {
				t.Errorf("%+v", x)
			}
			must(t, openAndRead(t, dir, rows, true))
			x = look()
			if whole := name != "a directory" && name != "a pipe" && name != "a loop"; !x.Sound || whole && x.Table.Unsummed > 3 {
				t.Errorf("after a flush %+v", x)
			}
		})
	}
}
