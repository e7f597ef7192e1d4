package table

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

// sums is the file table.sums: the CRC-32C of files of the table, which Lance
// keeps none of, so that a verification notices bytes that have changed and can
// still be decoded. Only files whose names are never used again are in it: those
// of data, deletions and indexes. Each has a line
//
//	<CRC of the file> <its bytes> <its path in the table> <CRC of the line before this>
//
// with both CRCs in hexadecimal. Lines are appended, and those of files that are
// gone dropped now and then. A file without a line, as one that was not brought to
// the disk by this bucket, is not checked.
type sums struct {
	fs    vfs.FS
	path  string
	table string

	mu   sync.Mutex
	file vfs.File // nil until it is written to
	end  int64
	most int64 // size from which lines of files that are gone are dropped
}

// leastSums is a size of table.sums up to which all lines are kept.
const leastSums = 64 << 10

func newSums(filesystem vfs.FS, dir string) *sums {
	return &sums{fs: filesystem, path: filepath.Join(dir, SumsFile), table: filepath.Join(dir, Dir), most: leastSums}
}

// of returns the lines of those of the files that get one, and the sum of the last
// manifest, which the mark has. They have just been written, and are in the memory
// of the system.
func (s *sums) of(files []string) (lines []byte, manifest FileSum, err error) {
	for i, f := range files {
		// The list ends with the manifest. Those of versions in between, which one commit can make,
		// are not the newest, and are held against the files that they name.
		newest := i == len(files)-1 && isManifest(f)
		if !newest && !Summed(f) {
			continue
		}
		sum, err := SumOf(s.fs, filepath.Join(s.table, f))
		if err != nil {
			return nil, FileSum{}, err
		}
		if newest {
			manifest = sum
			continue
		}
		lines = append(lines, sumLine(f, sum)...)
	}
	return lines, manifest, nil
}

// add writes lines. They come to the disk some time: what is lost in a power failure
// is not checked.
func (s *sums) add(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	// Not synced: a verification that misses a sum checks less, and a sync would cost each flush
	// some milliseconds.
	if err := s.file.WriteAt([][]byte{lines}, s.end); err != nil {
		return err
	}
	s.end += int64(len(lines))
	return nil
}

func (s *sums) open() error {
	f, err := s.fs.OpenWrite(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.fs.Create(s.path)
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	// Not what was written here. It is begun anew, as it is not worth a bucket that cannot be
	// opened.
	if err == nil && size > maxSumsBytes {
		size, err = 0, f.Truncate(0)
	}
	if err == nil {
		// What a crash left of a line must not run into the next.
		err = f.WriteAt([][]byte{{'\n'}}, size)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.file, s.end = f, size+1
	return nil
}

// trim drops the lines of files that are gone, when there are many lines.
func (s *sums) trim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end <= s.most {
		return nil
	}
	known, err := ReadSums(s.fs, s.path)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for name, is := range known {
		_, err := s.fs.Stat(filepath.Join(s.table, name))
		if err == nil {
			lines.WriteString(sumLine(name, is))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := errors.Join(s.drop(), statefile.WriteText(s.fs, s.path, lines.Bytes())); err != nil {
		return err
	}
	// Twice what is left, so that the work of dropping lines stays a constant share of the work of
	// adding them.
	s.most = max(leastSums, 2*int64(lines.Len()))
	return nil
}

// drop closes the file; s.mu is held.
func (s *sums) drop() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file, s.end = nil, 0
	return err
}

func (s *sums) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Summed says whether a file of the table is one that gets a sum.
func Summed(file string) bool {
	dir, _, _ := strings.Cut(file, "/")
	return dir == "data" || dir == "_deletions" || dir == "_indices"
}

func isManifest(file string) bool { return strings.HasPrefix(file, "_versions/") }

// FileSum is what is noted of a file.
type FileSum struct {
	CRC32C uint32 `json:"crc32c"`
	Bytes  int64  `json:"bytes"`
}

func sumLine(file string, is FileSum) string {
	line := fmt.Sprintf("%08x %d %s", is.CRC32C, is.Bytes, file)
	return line + " " + statefile.Sum([]byte(line)) + "\n"
}

// ReadSums returns the sums of all files by name, none where there is no file of sums.
func ReadSums(filesystem vfs.FS, path string) (map[string]FileSum, error) {
	known := map[string]FileSum{}
	text, err := statefile.Whole(filesystem, path, maxSumsBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, fmt.Errorf("engine: read sums of the table: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || !strings.HasSuffix(line, "\n") || statefile.Sum([]byte(line[:at])) != line[at+1:len(line)-1] {
			continue // torn by a crash
		}
		var is FileSum
		var name string
		if n, err := fmt.Sscanf(line[:at], "%x %d %s", &is.CRC32C, &is.Bytes, &name); n == 3 && err == nil {
			known[name] = is
		}
	}
	return known, nil
}

// maxSumsBytes is more than table.sums ever has.
const maxSumsBytes = 1 << 30

// SumOf reads a file.
func SumOf(filesystem vfs.FS, path string) (is FileSum, err error) {
	f, err := filesystem.Open(path)
	if err != nil {
		return is, err
	}
	defer f.Close()
	if is.Bytes, err = f.Size(); err != nil {
		return is, err
	}
	h := crc32.New(castagnoli)
	n, err := io.CopyBuffer(h, io.NewSectionReader(f, 0, is.Bytes), make([]byte, 256<<10))
	if err == nil && n != is.Bytes {
		err = io.ErrUnexpectedEOF
	}
	is.CRC32C = h.Sum32()
	return is, err
}

// differs says whether a file is there and is not what was noted of it.
func differs(filesystem vfs.FS, path string, noted FileSum) (bool, error) {
	f, err := filesystem.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil || size != noted.Bytes {
		return err == nil, err
	}
	// The size first, which costs nothing: a torn file mostly has another, and a manifest can have
	// many megabytes.
	is, err := SumOf(filesystem, path)
	return is != noted, err
}
