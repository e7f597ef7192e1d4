package bucket

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine/options"
	"github.com/persisting/persisting/engine/table"
)

// furnished makes a bucket that has one of every kind of file, at rest.
func furnished(t *testing.T) (dir string, left []int64) {
	t.Helper()
	b := open(t, filepath.Join(t.TempDir(), "bucket"), quiet(func(o *options.Options) { o.RetentionAge = time.Hour }))
	for range 2 {
		appendRows(t, b, 40)
		must(t, b.Flush())
	}
	_, err := b.Delete("id = 7")
	must(t, err)
	must(t, b.CreateIndex(table.IndexSpec{Column: "id", Type: "btree"}))
	versions, err := b.Versions()
	must(t, err)
	must(t, b.Tag("kept", versions[len(versions)-1].Number))
	must(t, b.Commit("trainer", 50))
	must(t, b.Close())
	for id := range int64(80) {
		if id != 7 {
			left = append(left, id)
		}
	}
	return b.home.Path, left
}

// TestEveryOtherFile loses or damages a file beside log, mark and data. Either all
// that the bucket says is right, or there is an error that names what is wrong.
func TestEveryOtherFile(t *testing.T) {
	const (
		consumers = "consumers.json"
		tags      = "tags.json"
		tag       = "data.lance/_refs/tags/kept.json"
		deletions = "data.lance/_deletions/*"
		index     = "data.lance/_indices/*/*"
		times     = "times.json"
		fine      = ""
	)
	wants := map[string]string{consumers: consumers, tags: tags, tag: fine, deletions: "_deletions", index: "_indices", times: fine}
	damages := map[string]func(string) error{
		"gone": gone, "empty": asEmpty, "half": asHalf, "a giant": asGiant, "foreign": asFile, "a directory": asDirectory,
		"a pipe": asPipe, "a loop": asLoop, "null": asText("null"), "an empty object": asText("{}"), "a list": asText("[1]"),
		"a number too low": asText(`{"trainer": -1}`),
	}
	obstacle := tag + " a directory" // which does not give way to the tag
	for _, file := range slices.Sorted(maps.Keys(wants)) {
		for _, name := range slices.Sorted(maps.Keys(damages)) {
			t.Run(strings.TrimPrefix(file, "data.lance/")+", "+name, func(t *testing.T) {
				dir, left := furnished(t)
				replaced(t, dir, file, damages[name])
				var err error
				done := make(chan struct{})
				go func() {
					defer close(done)
					err = useAll(dir, left)
				}()
				select {
				case <-done:
				case <-time.After(20 * time.Second):
					t.Fatal("it does not end")
				}
				switch {
				case file+" "+name == obstacle:
					if err == nil || !strings.Contains(err.Error(), "kept.json") {
						t.Fatalf("got %v", err)
					}
				case wants[file] == fine && err != nil:
					t.Fatal(err)
				case wants[file] != fine && (err == nil || errors.Is(err, errWrong) || !strings.Contains(err.Error(), wants[file])):
					t.Fatalf("got %v, want an error that says %q", err, wants[file])
				}
			})
		}
	}
}

var (
	errWrong     = errors.New("the bucket says what is not so")
	errForgotten = errors.New("the bucket has forgotten")
)

// useAll opens a bucket that was furnished and holds all that it says to what is so.
func useAll(dir string, left []int64) error {
	o := quiet()
	o.RetentionAge = time.Hour
	b, err := Open(dir, o)
	if err != nil {
		return err
	}
	return errors.Join(ask(b, left), b.Compact(), ask(b, left), b.Close())
}

func ask(b *Bucket, left []int64) error {
	view, err := b.Read(0, 1<<20, false)
	if err != nil {
		return err
	}
	var got []int64
	for {
		rec, err := view.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(err, view.Close())
		}
		got = append(got, rec.Column(0).(*array.Int64).Int64Values()...)
		rec.Release()
	}
	if err := view.Close(); err != nil {
		return err
	}
	if !slices.Equal(got, left) {
		return fmt.Errorf("%w: the rows are %v", errWrong, got)
	}
	for filter, want := range map[string]int64{"id = 7": 0, "id >= 70": 10} {
		if n, err := b.Count(filter); err != nil {
			return err
		} else if n != want {
			return fmt.Errorf("%w: %d rows have %s", errWrong, n, filter)
		}
	}
	offsets, err := b.Consumers()
	if err != nil {
		return err
	}
	versions, err := b.Versions()
	if err != nil {
		return err
	}
	tagged := slices.ContainsFunc(versions, func(v table.Version) bool { return slices.Contains(v.Tags, "kept") })
	if offsets["trainer"] != 50 || !tagged {
		return fmt.Errorf("%w: tagged %v, offsets %v", errForgotten, tagged, offsets)
	}
	return nil
}
