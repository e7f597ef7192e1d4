package segment

// Run is the entries that the next write of a segment consists of. Nothing of it counts before [Segment.Extend], so that the same
// run can be written once more, as it must be when somebody changed its bytes meanwhile.
type Run struct {
	at, next int64
	chain    uint32
	promise  int64
	salt     uint32
}

// Begin returns an empty run at the end of the segment.
func (s *Segment) Begin() Run {
	// The promise is what the disk has by now. By it a reader tells what a crash can have left from
	// what it cannot: zeros below a promise were a record once.
	return Run{at: s.end, next: s.next, chain: s.chain, promise: s.synced.Load(), salt: s.head.Salt}
}

// Head writes the head of the run's next entry to b: rows rows from first on, in a payload of length bytes with the checksum sum.
func (r *Run) Head(b []byte, first, rows, length int64, sum uint32) {
	e := record{kind: kindEntry, length: length, first: first, rows: rows, promise: r.promise, body: sum}
	e.encode(b, r.at, r.salt)
	r.chain = extend(r.chain, b)
	r.at += Span(length)
	r.next = first + rows
}

// Write writes the bytes of a run, heads, payloads and padding, at the end of the segment. With sync they are on disk when it
// returns.
func (s *Segment) Write(pieces [][]byte, sync bool) error {
	if sync {
		return s.file.WriteSync(pieces, s.end)
	}
	return s.file.WriteAt(pieces, s.end)
}

// Extend makes a run that was written, and synced or not, part of the segment.
func (s *Segment) Extend(r Run, synced bool) {
	s.end, s.next, s.chain = r.at, r.next, r.chain
	s.written.Store(s.end)
	if synced {
		s.synced.Store(s.end)
	}
}

// Copy appends entries of another segment to one in the making, with which they come to the disk as a whole: their promise is
// all that stands before them.
func (s *Segment) Copy(from *Scan, entries []Extent) error {
	head := make([]byte, RecordBytes)
	for _, e := range entries {
		// Read and checked once more, as the file is damaged and this copy is the one that stays.
		for at := e.From; at < e.To; {
			r, payload, err := from.read(at)
			if err != nil {
				return err
			}
			at += Span(r.length)
			run := s.Begin()
			run.promise = s.end
			run.Head(head, r.first, r.rows, r.length, bodySum(payload))
			if err := s.Write([][]byte{head, payload, zeros[:padding(r.length)]}, false); err != nil {
				return err
			}
			s.Extend(run, false)
		}
	}
	return nil
}

// Skip sets the row that comes next, where those before it are lost.
func (s *Segment) Skip(next int64) { s.next = next }
