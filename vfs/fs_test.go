package vfs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// TestFS holds the real file system and the one in memory to the same behavior.
func TestFS(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"os": vfs.OS, "mem": faultfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "one", "two")
			path := filepath.Join(root, "file")
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			gone := func(err error) {
				t.Helper()
				if !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("error %v", err)
				}
			}
			_, err := fsys.ReadDir(root)
			gone(err)
			must(fsys.MkdirAll(root))
			must(fsys.MkdirAll(root))
			for _, open := range []func(string) (vfs.File, error){fsys.Open, fsys.OpenWrite} {
				_, err := open(path)
				gone(err)
			}
			_, err = fsys.Stat(path)
			gone(err)
			gone(fsys.Remove(path))
			gone(fsys.Rename(path, path+"2"))
			f, err := fsys.Create(path)
			must(err)
			must(f.Preallocate(100))
			pieces := make([][]byte, 3000) // more than the system takes at once
			var want []byte
			for i := range pieces {
				pieces[i] = []byte{byte(i), byte(i >> 8), 7}[:i%4%3]
				want = append(want, pieces[i]...)
			}
			must(f.WriteAt(pieces, 10))
			must(f.WriteAt(nil, 10))
			size, err := f.Size()
			must(err)
			if size != int64(10+len(want)) {
				t.Errorf("size %d", size)
			}
			must(f.Truncate(5))
			must(f.Truncate(20))
			must(f.WriteSync([][]byte{want[:1], want[1:]}, 10))
			must(f.Datasync())
			must(f.Sync())
			must(f.Close())
			must(fsys.Rename(path, path+"2"))
			must(vfs.SyncFile(fsys, path+"2"))
			must(fsys.SyncDir(root))
			f, err = fsys.Open(path + "2")
			must(err)
			b := make([]byte, 10+len(want))
			if n, err := f.ReadAt(b, 0); n < len(b) {
				t.Errorf("read %d, %v", n, err)
			}
			if !slices.Equal(b[10:], want) || !slices.Equal(b[:10], make([]byte, 10)) {
				t.Error("read other bytes than were written")
			}
			clear(b)
			must(vfs.ReadPieces(f, [][]byte{b[:3], nil, b[3:2000], b[2000:]}, 0))
			if !slices.Equal(b[10:], want) {
				t.Error("read other pieces than were written")
			}
			if err := vfs.ReadPieces(f, [][]byte{b, make([]byte, 1)}, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read beyond the end: %v", err)
			}
			if f.WriteAt([][]byte{{1}}, 0) == nil {
				t.Error("wrote to a file that is open for reading")
			}
			must(f.Close())
			info, err := fsys.Stat(path + "2")
			must(err)
			if info.Size != int64(10+len(want)) || info.Dir {
				t.Errorf("%+v", info)
			}
			if info, err := fsys.Stat(root); err != nil || !info.Dir {
				t.Errorf("%+v, %v", info, err)
			}
			names, err := fsys.ReadDir(root)
			must(err)
			if !slices.Equal(names, []string{"file2"}) {
				t.Error(names)
			}
			must(fsys.Remove(path + "2"))
		})
	}
}

// TestStrangeFiles has things in the place of segments that are no regular files.
func TestStrangeFiles(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"directory":       func(path string) error { return os.Mkdir(path, 0o755) },
		"named pipe":      func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"dangling link":   func(path string) error { return os.Symlink("nowhere", path) },
		"link to /dev":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"huge empty file": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 1<<40)) },
	} {
		t.Run(name, func(t *testing.T) {
			o := wal.Options{Dir: t.TempDir()}
			if err := put(filepath.Join(o.Dir, "00000000000000000001.wal")); err != nil {
				t.Skip(err)
			}
			if _, _, err := wal.Open(o, 0, nil); !errors.As(err, new(*segment.Error)) {
				t.Errorf("open: %v", err)
			}
			if infos, err := wal.Inspect(nil, o.Dir); err != nil || len(infos) != 1 || infos[0].Err == nil {
				t.Errorf("inspect: %+v, %v", infos, err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := wal.Open(wal.Options{Dir: filepath.Join(file, "wal")}, 0, nil); err == nil {
		t.Error("opened below a file")
	}
}
