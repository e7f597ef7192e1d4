package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/journal"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/marks"
	"github.com/persisting/persisting/engine/ring"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

// ExamineOptions says how closely [Examine] looks.
type ExamineOptions struct {
	// ReadRows reads all rows of the table. Without it, that its files are there
	// and have their sizes and their ends is enough. The rows of the log are
	// always read.
	ReadRows bool

	// Layout describes columns, fragments, versions and segments.
	Layout bool
}

// Examination is what the files of a bucket say of it.
type Examination struct {
	Path     string  `json:"path"`
	ID       string  `json:"id"`        // in hexadecimal; empty when nothing says it
	InUseBy  *string `json:"in_use_by"` // who has the bucket open; nil: nobody
	Sound    bool    `json:"sound"`     // there are no faults
	Rows     int64   `json:"rows"`      // that the bucket has when it is opened
	End      int64   `json:"end"`       // the offset that the next row gets
	DiskSize int64   `json:"disk_bytes"`

	Table TableExamination `json:"table"`
	Log   LogExamination   `json:"log"`
	Ring  RingExamination  `json:"ring"`

	// Faults are what lost rows, or keeps the bucket from being opened.
	Faults []Fault `json:"faults"`
	// Notes are what a crash left and the next open puts in order.
	Notes []string `json:"notes"`
	// Aside are the files that a recovery or a salvage put aside, relative to Path.
	Aside []string `json:"aside"`

	Columns []Column `json:"columns,omitempty"`
}

// TableExamination is the part of an [Examination] about the Lance table.
type TableExamination struct {
	Version   uint64           `json:"version"`                // the newest sound one; 0: there is none
	Rows      int64            `json:"rows"`                   // without those that were removed
	End       int64            `json:"end"`                    // the offset after its rows
	Bytes     int64            `json:"bytes"`                  // of the data files of that version
	RowsRead  bool             `json:"rows_read"`              // whether all rows were read
	Unsummed  int              `json:"files_without_checksum"` // files that were read, but have none to be held against
	Fragments []lance.Fragment `json:"fragments,omitempty"`
	Versions  []lance.Version  `json:"versions,omitempty"`
}

// LogExamination is the part of an [Examination] about the write-ahead log.
type LogExamination struct {
	Files     int       `json:"segments_found"`
	Rows      int64     `json:"rows"` // that the table does not hold
	Entries   int64     `json:"entries"`
	Bytes     int64     `json:"bytes"` // of those entries
	TornBytes int64     `json:"torn_bytes"`
	Segments  []Segment `json:"segments,omitempty"`
}

// RingExamination is the part of an [Examination] about the puts that are acknowledged and not in the log.
type RingExamination struct {
	Rows    int64 `json:"rows"`
	Entries int64 `json:"entries"`
}

// Segment is a file of the log.
type Segment struct {
	File      string `json:"file"` // relative to the bucket
	First     int64  `json:"first_row"`
	Rows      int64  `json:"rows"`
	Entries   int64  `json:"entries"`
	Bytes     int64  `json:"bytes"`
	Allocated int64  `json:"allocated_bytes"`
	Closed    bool   `json:"closed"`
	Salvaged  bool   `json:"salvaged"`
}

// Column is a column of a bucket.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Fault is something that is wrong with a bucket.
type Fault struct {
	File string     `json:"file"` // relative to the bucket
	Byte *int64     `json:"byte"` // place in the file, where there is one
	What string     `json:"what"`
	Rows [][2]int64 `json:"rows"` // that are lost by it, [first, end); nil when that is unknown
}

// Examine says what is in the bucket in the directory dir, and what is wrong with
// it, and changes nothing. The bucket may be open elsewhere: then the answer is
// that of a moment. The error is [ErrNoBucket], or that of a disk which cannot be
// read; faults of the bucket are in the answer.
func Examine(dir string, o ExamineOptions) (Examination, error) {
	dir, err := layout.Path(dir)
	if err != nil {
		return Examination{}, err
	}
	var before []Fault
	outrun := 0 // how many times a version was removed while its rows were read
	for try := 0; ; try++ {
		x := newExaminer(dir, o)
		if err := x.examine(); err != nil {
			return Examination{}, err
		}
		holder, err := statefile.HolderOf(dir)
		if err != nil {
			return Examination{}, err
		}
		if holder != "" {
			x.InUseBy = &holder
		}
		// What is written or removed at this moment looks damaged, but not twice.
		// Settled where nobody writes, where it was tried often enough, or where two looks in a row
		// see the same faults: what an owner does leaves another picture the next time.
		settled := holder == "" || try >= tries || !x.Sound && reflect.DeepEqual(x.Faults, before)
		if !settled && (!x.Sound || x.overtaken()) {
			before = x.Faults
			time.Sleep(pause)
			continue
		}
		if o.ReadRows && x.Table.Version != 0 {
			sound := x.Sound
			// To read all rows takes longer than a look. A busy owner may have removed the version
			// by then, each time: after some of these the answer is given without the rows, and
			// says so.
			if outrun < tries/2 {
				x.readAll()
			} else {
				x.note("the rows of the table were not read: its owner removes versions faster than that goes")
			}
			if !x.Sound && sound && holder != "" && x.removed() {
				outrun++
				continue
			}
		}
		if settled || x.Sound {
			return x.Examination, nil
		}
	}
}

// removed says whether the version that was looked at is there no more.
func (x *examiner) removed() bool {
	_, err := os.Stat(filepath.Join(x.dir, table.Dir, x.state.Head().Manifest))
	return errors.Is(err, fs.ErrNotExist)
}

const (
	tries = 20
	pause = 50 * time.Millisecond
)

// examiner makes an examination.
type examiner struct {
	Examination
	o      ExamineOptions
	dir    string
	id     [16]byte
	marker *table.Marker
	mark   table.Mark
	state  lance.State
	schema *arrow.Schema // of the newest rows

	hasTable  bool     // there are files of a table that once was sound
	unread    []string // small files that cannot be read, and can be made anew
	lostTags  []string // whose versions are gone
	marksLost bool     // some of what tasks consumed is gone
	obstacle  error    // a fault that no other version and no salvage avoids
}

func newExaminer(dir string, o ExamineOptions) *examiner {
	return &examiner{
		Examination: Examination{Path: dir, Sound: true, Faults: []Fault{}, Notes: []string{}, Aside: []string{}},
		o:           o,
		dir:         dir,
	}
}

func (x *examiner) examine() error {
	if err := x.measure(); err != nil {
		return err
	}
	if err := x.readIdentity(); err != nil {
		return err
	}
	// Whose files they are before what is in them; the mark before the table, which it judges.
	x.readMark()
	tags := x.readRegisters()
	x.readMarks()
	x.readTable()
	x.readTags(tags)
	// From the table's end on, as an opening reads it: what is before is in the table, and was cut
	// or may be.
	report := x.readLog(x.Table.End)
	x.noteLog(report)
	if x.lostLog(report) {
		x.fault(layout.LogDir, nil, fmt.Sprintf("there is no segment: the rows from %d on, if there were any, are lost", report.End))
	}
	if err := x.readRing(report.End); err != nil {
		x.fault(layout.RingFile, err, "")
	}
	x.End, x.Rows = report.End+x.Ring.Rows, x.Table.Rows+report.Rows+x.Ring.Rows
	if due := x.mark.Rows; x.End < due {
		x.fault(table.MarkFile, nil, "the rows were in the table, and are neither there nor in the log", [2]int64{x.End, due})
	}
	if x.schema != nil && x.o.Layout {
		for _, f := range x.schema.Fields() {
			x.Columns = append(x.Columns, Column{f.Name, batch.TypeName(f)})
		}
	}
	return nil
}

// lostLog says whether a log that was there is gone.
func (x *examiner) lostLog(report wal.Report) bool {
	if !x.mark.Logging || report.Segments > 0 {
		return false
	}
	m, err := table.ReadMarker(vfs.OS, x.dir) // it may have been cut since
	return err == nil && m.Mark().Logging
}

// overtaken says whether rows have moved from the log to the table since the
// table was looked at.
func (x *examiner) overtaken() bool {
	m, err := table.ReadMarker(vfs.OS, x.dir)
	return err != nil || m.Mark().Rows > x.End
}

// fault notes a fault; rows is what it costs, where that is known.
func (x *examiner) fault(path string, err error, what string, rows ...[2]int64) {
	f := Fault{File: x.relative(path), What: what, Rows: rows}
	var place *segment.Error
	switch {
	case errors.As(err, &place):
		f.File, f.Byte, f.What = x.relative(place.Path), &place.Offset, place.Err.Error()
	case err != nil:
		f.What = err.Error()
	}
	// Also for one that is told already.
	x.Sound = false
	if !slices.ContainsFunc(x.Faults, func(g Fault) bool { return reflect.DeepEqual(f, g) }) {
		x.Faults = append(x.Faults, f)
	}
}

// stop notes a fault that is beyond repair.
func (x *examiner) stop(path string, err error) {
	x.fault(path, err, "")
	x.obstacle = err
}

func (x *examiner) relative(path string) string {
	if name, err := filepath.Rel(x.dir, path); err == nil && filepath.IsAbs(path) {
		return name
	}
	return path
}

func (x *examiner) note(format string, args ...any) {
	x.Notes = append(x.Notes, fmt.Sprintf(format, args...))
}

// measure adds up the sizes of the files.
func (x *examiner) measure() error {
	err := filepath.WalkDir(x.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		if strings.Contains(d.Name(), ".broken") || strings.HasSuffix(d.Name(), ".corrupt") {
			x.Aside = append(x.Aside, x.relative(path))
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			x.DiskSize += info.Size()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("engine: examine bucket: %w", err)
	}
	return nil
}

// readIdentity finds the identity, that of the log where the bucket's is damaged.
func (x *examiner) readIdentity() error {
	// By vfs.OS here and below, and not by a file system that could be another: an examination is
	// of what is on the disk.
	id, err := layout.ReadIdentity(vfs.OS, filepath.Join(x.dir, layout.IdentityFile))
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("engine: examine bucket: %w", err)
		}
		x.fault(layout.IdentityFile, err, "")
		x.unread = append(x.unread, layout.IdentityFile)
		// The log repeats it in each segment, so the rows of it are not lost with a file of some
		// bytes.
		id = identityOfLog(x.dir)
	}
	x.id = id
	if id != [16]byte{} {
		x.ID = fmt.Sprintf("%x", id)
	}
	return nil
}

// identityOfLog returns the identity in the newest segment that can be read, or
// zeros.
func identityOfLog(dir string) (id [16]byte) {
	segments, err := wal.Inspect(vfs.OS, filepath.Join(dir, layout.LogDir))
	if err != nil {
		return id
	}
	for _, s := range slices.Backward(segments) {
		if s.Bucket != id {
			return s.Bucket
		}
	}
	return id
}

func (x *examiner) readMark() {
	m, err := table.ReadMarker(vfs.OS, x.dir)
	x.marker = m
	if err != nil {
		x.fault(table.MarkFile, err, "")
		x.unread = append(x.unread, table.MarkFile)
		return
	}
	x.mark = m.Mark()
}

// readRegisters reads the offsets of consumers, and returns what tags name.
func (x *examiner) readRegisters() (tags map[string]int64) {
	read := func(r *statefile.Register, name string) map[string]int64 {
		numbers, err := r.All()
		if err != nil {
			x.fault(name, err, "")
			x.unread = append(x.unread, name)
		}
		return numbers
	}
	read(layout.Consumers(vfs.OS, x.dir, x.marker), layout.ConsumersFile)
	return read(x.marker.Tags(), table.TagsFile)
}

// readMarks reads what tasks have consumed.
func (x *examiner) readMarks() {
	dir := filepath.Join(x.dir, layout.MarksDir)
	if _, err := os.Lstat(dir); err != nil && !x.mark.Marked {
		return
	}
	// As a salvage reads it, which goes on behind a fault: all faults are told at once.
	o := wal.Options{Dir: dir, Bucket: x.id, Recovery: wal.Salvage}
	reading, err := journal.Read(o, &marks.Marks{})
	if err != nil {
		x.stop(layout.MarksDir, err)
		return
	}
	if reading.Empty() && x.mark.Marked {
		x.fault(layout.MarksDir, nil, "there is nothing of the rows that tasks consumed")
	}
	for _, fault := range reading.Faults() {
		x.fault(layout.MarksDir, fault, "")
	}
	x.marksLost = len(reading.Faults()) > 0 || reading.Empty() && x.mark.Marked
}

// readTags holds the tags against what was noted of them.
func (x *examiner) readTags(noted map[string]int64) {
	path := filepath.Join(x.dir, table.Dir)
	// By the register, which is the bucket's own: files of tags that it does not know are another
	// program's.
	stray, err := table.StrayTags(vfs.OS, path, noted)
	if err != nil {
		x.stop(path, err)
	}
	for _, s := range stray {
		if !s.Gone {
			x.note("%s, and is written anew", s)
			continue
		}
		x.fault(table.TagPath(path, s.Name), nil, s.String())
		x.lostTags = append(x.lostTags, s.Name)
	}
}

// readTable finds the version that the next open begins with, as heal does.
func (x *examiner) readTable() {
	path := filepath.Join(x.dir, table.Dir)
	_, err := os.Lstat(path)
	if x.hasTable = err == nil; !x.hasTable {
		return
	}
	// Whatever is there was never a table that had a row.
	if x.mark.Unmade() {
		x.hasTable = false
		x.note("%s was being made, and is begun anew", table.Dir)
		return
	}
	if x.state, err = table.Check(path, x.mark, x.o.Layout); err != nil {
		x.stop(table.Dir, err)
		return
	}
	head := x.state.Head()
	for i := range x.state.Versions {
		v := &x.state.Versions[i]
		if v == head {
			break
		}
		x.noteVersion(v)
	}
	if x.o.Layout {
		x.Table.Versions = x.state.Versions
	}
	if head != nil && head.Number < x.mark.Version && !slices.ContainsFunc(x.state.Versions, func(v lance.Version) bool { return v.Number == x.mark.Version }) {
		x.fault(table.Dir, nil, fmt.Sprintf("version %d of the table was on disk, and %s", x.mark.Version, table.WrongWith(&x.state, x.mark.Version)))
	}
	if head == nil {
		if len(x.state.Versions) > 0 {
			x.fault(table.Dir, nil, "no version of the table is sound")
		}
		return
	}
	x.Table.Version, x.Table.Rows, x.Table.End, x.Table.Bytes = head.Number, head.Rows, head.NextRowID, head.Bytes
	// No open would take it, nor any version after it: ids would be given twice.
	if head.Rows > head.NextRowID {
		x.stop(table.Dir, fmt.Errorf("the table has %d rows and its next row id is %d", head.Rows, head.NextRowID))
	}
	if x.o.Layout && head == x.state.Newest() {
		x.Table.Fragments = x.state.Fragments
	}
	snapshot, err := lance.OpenVersion(path, head.Number)
	if err != nil {
		x.stop(table.Dir, err)
		return
	}
	x.schema = snapshot.Schema()
	snapshot.Release()
}

// noteVersion tells of a version that the next open sets aside. It is damaged
// where the mark says that it was on disk.
func (x *examiner) noteVersion(v *lance.Version) {
	manifest := filepath.Join(table.Dir, v.Manifest)
	// What the mark names was on the disk as a whole, so what is wrong with it came after that.
	// What is above was in the making when something ended.
	durable := v.Number <= x.mark.Version
	switch {
	case v.Above:
		x.note("%s was not finished, and is set aside", manifest)
	case v.Torn != nil && durable:
		x.fault(manifest, nil, *v.Torn)
	case v.Torn != nil:
		x.note("%s %s, and is set aside", manifest, *v.Torn)
	}
	// A version that is above the mark may have flaws, and was never promised to anybody.
	for _, f := range v.Flaws {
		file := filepath.Join(table.Dir, f.File)
		if durable {
			x.fault(file, nil, f.What, f.Rows...)
		} else {
			x.note("%s %s, and version %d is set aside", file, f.What, v.Number)
		}
	}
}

// readAll reads all files of the table, and all rows.
func (x *examiner) readAll() {
	x.readRows()
	if err := x.readFiles(); err != nil {
		x.stop(table.Dir, err)
	}
}

// readFiles holds the files of the table against the sums that were noted of them.
func (x *examiner) readFiles() error {
	path := filepath.Join(x.dir, table.Dir)
	known, err := table.ReadSums(vfs.OS, filepath.Join(x.dir, table.SumsFile))
	if err != nil {
		x.note("%s is not used: %v", table.SumsFile, err)
	}
	s, err := lance.OpenVersion(path, x.Table.Version)
	if err != nil {
		return err
	}
	defer s.Release()
	files, err := lance.ChangedFiles(nil, s)
	if err != nil {
		return err
	}
	for _, f := range files {
		was, ok := known[f]
		switch {
		case !table.Summed(f):
			continue
		// Written by a version before the sums, or before a power failure took the line: no fault,
		// and told.
		case !ok:
			x.Table.Unsummed++
			continue
		}
		is, err := table.SumOf(vfs.OS, filepath.Join(path, f))
		if err != nil {
			return err
		}
		if is != was {
			x.stop(filepath.Join(table.Dir, f), fmt.Errorf("its %d bytes with checksum %08x are not the %d with %08x that were written", is.Bytes, is.CRC32C, was.Bytes, was.CRC32C))
		}
	}
	return nil
}

// readRows reads all rows of the table.
func (x *examiner) readRows() {
	// Decoding finds what a checksum of a file cannot, as a file that was wrong when it was
	// written.
	rows, err := countRows(filepath.Join(x.dir, table.Dir), x.Table.Version)
	switch {
	case err != nil:
		x.stop(table.Dir, fmt.Errorf("after %d rows of version %d: %w", rows, x.Table.Version, err))
	case rows != x.Table.Rows:
		x.stop(table.Dir, fmt.Errorf("%d of the %d rows of version %d can be read", rows, x.Table.Rows, x.Table.Version))
	default:
		x.Table.RowsRead = true
	}
}

func countRows(path string, version uint64) (rows int64, err error) {
	s, err := lance.OpenVersion(path, version)
	if err != nil {
		return 0, err
	}
	defer s.Release()
	// All columns, as a page of one may be damaged and those of the others not.
	r, err := s.Read(0, s.NextRowID(), nil, 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows += rec.NumRows()
		rec.Release()
	}
}

// readLog reads the log behind the first next rows as a salvage does.
func (x *examiner) readLog(next int64) wal.Report {
	var d batch.Decoder
	defer d.Close()
	o := wal.Options{Dir: filepath.Join(x.dir, layout.LogDir), Bucket: x.id, MaxEntryBytes: batch.MaxBytes, Recovery: wal.Salvage}
	report, err := wal.Verify(o, next, func(e segment.Entry) error {
		rec, err := d.Decode(e.Preamble, e.Body)
		if err != nil {
			return err
		}
		defer rec.Release()
		if rec.NumRows() != e.Rows {
			return fmt.Errorf("%w: the entry has %d rows, its header says %d", engine.ErrCorrupt, rec.NumRows(), e.Rows)
		}
		// Decoded, and not only summed: an entry that is whole and cannot be read would stop the
		// next open.
		x.schema = widest(x.schema, rec.Schema())
		return nil
	})
	if err != nil {
		x.stop(layout.LogDir, err)
	}
	report.End = max(report.End, next)
	return report
}

// readRing reads what is in the ring behind the first next rows.
func (x *examiner) readRing(next int64) error {
	saved, err := ring.Load(filepath.Join(x.dir, layout.RingFile), x.id)
	if errors.Is(err, fs.ErrNotExist) || !saved.Logged && err == nil {
		return nil
	}
	entries, gap := saved.Following(next)
	for _, e := range entries {
		x.Ring.Rows += e.Rows
		x.Ring.Entries++
	}
	return errors.Join(err, gap)
}

// widest returns the columns after rows of the one schema were followed by rows
// of the other.
func widest(have, next *arrow.Schema) *arrow.Schema {
	if have == next {
		return have
	}
	if c, err := batch.Unify(have, next); err == nil && !c.None() {
		return c.Schema
	}
	return have
}

// noteLog tells of what a reading of the log found.
func (x *examiner) noteLog(report wal.Report) {
	x.Log.Files, x.Log.Rows, x.Log.Entries, x.Log.Bytes = report.Segments, report.Rows, report.Entries, report.Bytes
	x.Log.TornBytes = report.TornBytes
	if report.TornBytes > 0 {
		x.note("%s ends with %d bytes that were being written, and are cut off", x.relative(report.TornFile), report.TornBytes)
	}
	for _, err := range report.Faults {
		if !errors.As(err, new(*wal.GapError)) { // Missing has its rows
			x.fault(layout.LogDir, err, "")
		}
	}
	for _, r := range report.Missing {
		rows := [][2]int64{{r.First, r.End}}
		if r.End < 0 {
			rows = nil
		}
		x.fault(layout.LogDir, nil, "rows "+r.String()+" are missing", rows...)
	}
	if !x.o.Layout {
		return
	}
	segments, err := wal.Inspect(vfs.OS, filepath.Join(x.dir, layout.LogDir))
	if err != nil {
		return // readLog has told of it
	}
	for _, s := range segments {
		x.Log.Segments = append(x.Log.Segments, Segment{
			File: x.relative(s.Path), First: s.Base, Rows: s.Rows, Entries: s.Entries,
			Bytes: s.Bytes, Allocated: s.Allocated, Closed: s.Closed, Salvaged: s.Salvaged,
		})
	}
}
