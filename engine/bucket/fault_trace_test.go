package bucket

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/persisting/persisting/engine/options"
)

// TestOrderOfSystemCalls finds the order of writing in what strace sees of a
// process, Lance's part of it included: nothing is removed from the log or from
// the table while a file of the table that was written, or its name, is not
// synced.
func TestOrderOfSystemCalls(t *testing.T) {
	if dir := os.Getenv("PERSISTING_TEST_LIFE"); dir != "" {
		shortLife(t, dir)
		return
	}
	strace, err := exec.LookPath("strace")
	if err == nil {
		if text, failed := exec.Command(strace, "-f", "-e", "trace=fsync", "true").CombinedOutput(); failed != nil {
			err = fmt.Errorf("strace does not work here: %w: %s", failed, text)
		}
	}
	if err != nil && slow() {
		t.Fatalf("cannot run: %v", err)
	}
	if err != nil {
		t.Skipf("cannot run: %v; TestOrderOfWriting sees the same through the file-system seam", err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	bucket, out := filepath.Join(dir, "bucket"), filepath.Join(dir, "trace")
	traced := exec.Command(strace, "-f", "-y", "-s", "0", "-o", out, "-e", "signal=none", "-e",
		"trace=open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,copy_file_range,sendfile,"+
			"rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,sync_file_range,io_uring_enter",
		os.Args[0], "-test.run", "^TestOrderOfSystemCalls$")
	traced.Env = append(os.Environ(), "PERSISTING_TEST_LIFE="+bucket)
	if text, err := traced.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	text, err := os.ReadFile(out)
	must(t, err)
	tr := &tracedDir{root: bucket, files: map[string]bool{}, names: map[string]bool{}, seen: map[string]int{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	pending := map[string]string{} // the first half of a call, by process
	for n := 1; lines.Scan(); n++ {
		pid, call, _ := strings.Cut(lines.Text(), " ")
		call = strings.TrimSpace(call)
		if half, ok := strings.CutSuffix(call, " <unfinished ...>"); ok {
			pending[pid] = half
			tr.begin(n, half)
			continue
		}
		if rest, ok := strings.CutPrefix(call, "<... "); ok {
			_, rest, _ = strings.Cut(rest, " resumed>")
			call = pending[pid] + rest
		} else {
			tr.begin(n, call)
		}
		tr.end(call)
	}
	must(t, lines.Err())
	for _, f := range tr.faults {
		t.Error(f)
	}
	for what, least := range map[string]int{"fsync": 20, "fdatasync": 10, "cut": 4, "clean-up": 2, "manifest": 8} {
		if tr.seen[what] < least {
			t.Errorf("the trace has %d of %s, want at least %d", tr.seen[what], what, least)
		}
	}
}

// shortLife takes a bucket through all that writes.
func shortLife(t *testing.T, dir string) {
	o := quiet(func(o *options.Options) { o.WALSyncInterval = 0 })
	for life := range 2 {
		b, err := Open(dir, o)
		must(t, err)
		for i := range 6 {
			rec := recordOf([]row{{text: "text", value: float64(i), extra: int64(i / 3)}}, life == 1)
			_, end, err := b.Append(Record{Rows: rec}, false)
			rec.Release()
			must(t, err)
			must(t, b.Wait(background, end))
			must(t, b.Flush())
		}
		must(t, b.Compact())
		must(t, b.Close())
	}
}

// tracedDir is what is known of the files below root while the trace is read.
type tracedDir struct {
	root   string
	files  map[string]bool // written and not synced
	names  map[string]bool // made, in a directory that was not synced since
	seen   map[string]int
	faults []string
}

var (
	openedPath = regexp.MustCompile(`\d+<([^>]*)>`)
	namedPath  = regexp.MustCompile(`"([^"]*)"(?:\.\.\.)?`)
)

// begin sees a call when it starts: removals.
func (d *tracedDir) begin(line int, call string) {
	if !strings.HasPrefix(call, "unlink") {
		return
	}
	path := d.path(call)
	switch {
	case strings.HasSuffix(path, ".wal"):
		d.seen["cut"]++
	case strings.HasPrefix(path, "data.lance/data/"), strings.HasSuffix(path, ".manifest"):
		d.seen["clean-up"]++
	default:
		return
	}
	for _, set := range []map[string]bool{d.files, d.names} {
		for file := range set {
			if matters(file) {
				d.faults = append(d.faults, fmt.Sprintf("line %d: %s is removed before %s is on disk", line, path, file))
			}
		}
	}
}

// matters reports whether a row can depend on a file. The transaction of a
// version that is not the newest is never read, nor is the hint at the newest.
func matters(file string) bool {
	return strings.HasPrefix(file, "data.lance/") && !strings.Contains(file, "_transactions") && !strings.Contains(file, "hint") ||
		file == "bucket.json" || file == "data.lance" || file == "table.mark"
}

// end sees a call when it is done.
func (d *tracedDir) end(call string) {
	name, arguments, ok := strings.Cut(call, "(")
	if !ok || strings.Contains(call, ") = -1 ") {
		return
	}
	path := d.path(call)
	if path == "" {
		return
	}
	switch {
	case strings.HasPrefix(name, "fsync"), strings.HasPrefix(name, "fdatasync"):
		d.seen[name]++
		delete(d.files, path)
		for made := range d.names {
			if name == "fsync" && filepath.Dir(made) == path {
				delete(d.names, made)
			}
		}
	case strings.HasPrefix(name, "open"), name == "creat":
		if strings.Contains(arguments, "O_CREAT") {
			d.names[path] = true
			d.files[path] = true
		}
	case strings.HasPrefix(name, "mkdir"):
		d.names[path] = true
	case strings.HasPrefix(name, "rename"), strings.HasPrefix(name, "link"):
		to := d.paths(call)[1]
		if strings.HasSuffix(to, ".manifest") {
			d.seen["manifest"]++
		}
		d.names[to] = true
		d.files[to] = d.files[path]
		if !d.files[to] {
			delete(d.files, to)
		}
		if strings.HasPrefix(name, "rename") {
			delete(d.names, path)
			delete(d.files, path)
		}
	case strings.HasPrefix(name, "unlink"), name == "rmdir":
		delete(d.names, path)
		delete(d.files, path)
	default: // writes
		d.files[path] = true
	}
}

// path is the first path of a call that lies below root, relative to it.
func (d *tracedDir) path(call string) string {
	if all := d.paths(call); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (d *tracedDir) paths(call string) (below []string) {
	call, _, _ = strings.Cut(call, ") = ")
	found := namedPath.FindAllStringSubmatch(call, -1)
	if len(found) == 0 {
		found = openedPath.FindAllStringSubmatch(call, 1)
	}
	for _, f := range found {
		if rel, err := filepath.Rel(d.root, f[1]); err == nil && !strings.HasPrefix(rel, "..") {
			below = append(below, rel)
		}
	}
	return below
}
