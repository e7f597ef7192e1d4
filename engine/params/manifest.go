package params

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/persisting/persisting/vfs"
	"github.com/zeebo/xxh3"
)

const (
	manifestVersion     = 1
	manifestColumns     = 14
	manifestHeaderBytes = 32

	// maxManifestBytes is far more than any has.
	maxManifestBytes = 1 << 40
)

// manifest are the tensors of a version, in the order of their names.
type manifest struct {
	nameEnds   []uint64
	names      []byte
	dtypeOf    []uint16
	dtypes     []string
	shapeEnds  []uint32
	dims       []int64
	objectOf   []uint32
	tieOf      []uint32
	savedAs    []uint32 // place among the tensors that were saved
	packOf     []uint32 // of objects, as the next three
	offsets    []int64
	lengths    []int64
	blocks     []sum
	packs      []ident
	blockBegin []uint64 // of objects, derived from lengths
}

func (m *manifest) count() int { return len(m.dtypeOf) }

func (m *manifest) name(i int) []byte { return m.names[begin(m.nameEnds, i):m.nameEnds[i]] }

func (m *manifest) dtype(i int) string { return m.dtypes[m.dtypeOf[i]] }

func (m *manifest) shape(i int) []int64 { return m.dims[begin(m.shapeEnds, i):m.shapeEnds[i]] }

func (m *manifest) length(i int) int64 { return m.lengths[m.objectOf[i]] }

func begin[T uint32 | uint64](ends []T, i int) T {
	if i == 0 {
		return 0
	}
	return ends[i-1]
}

// sumsOf are the checksums of the blocks of an object.
func (m *manifest) sumsOf(object uint32) []sum {
	first := m.blockBegin[object]
	return m.blocks[first : first+uint64(blocksIn(m.lengths[object]))]
}

// identity is that of an object.
func (m *manifest) identity(object uint32) sum {
	return identify(m.lengths[object], m.sumsOf(object))
}

// find returns the place of a tensor.
func (m *manifest) find(name string) (int, bool) {
	from, to := 0, m.count()
	for from < to {
		middle := (from + to) / 2
		if string(m.name(middle)) < name {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from, from < m.count() && string(m.name(from)) == name
}

// bytes is the size of all tensors, shared ones counted as often as they are there.
func (m *manifest) bytes() (total int64) {
	for i := range m.count() {
		total += m.length(i)
	}
	return total
}

// ---- writing ----

func (m *manifest) encode() []byte {
	dtypes := strings.Join(m.dtypes, "\n")
	if len(m.dtypes) > 0 {
		dtypes += "\n"
	}
	columns := [manifestColumns][]byte{
		column(m.nameEnds, binary.LittleEndian.AppendUint64), m.names,
		column(m.dtypeOf, binary.LittleEndian.AppendUint16), []byte(dtypes),
		column(m.shapeEnds, binary.LittleEndian.AppendUint32), column(m.dims, appendInt64),
		column(m.objectOf, binary.LittleEndian.AppendUint32), column(m.tieOf, binary.LittleEndian.AppendUint32),
		column(m.savedAs, binary.LittleEndian.AppendUint32),
		column(m.packOf, binary.LittleEndian.AppendUint32), column(m.offsets, appendInt64), column(m.lengths, appendInt64),
		column(m.blocks, func(b []byte, s sum) []byte { return append(b, s[:]...) }),
		column(m.packs, func(b []byte, id ident) []byte { return append(b, id[:]...) }),
	}
	whole := make([]byte, manifestHeaderBytes, manifestHeaderBytes+8*manifestColumns)
	copy(whole, manifestMagic)
	binary.LittleEndian.PutUint32(whole[8:], manifestVersion)
	binary.LittleEndian.PutUint32(whole[12:], manifestColumns)
	for _, c := range columns {
		whole = binary.LittleEndian.AppendUint64(whole, uint64(len(c)))
	}
	whole = append(whole, slices.Concat(columns[:]...)...)
	check := manifestSum(whole)
	copy(whole[16:], check[:])
	return whole
}

func appendInt64(b []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(n)) }

func column[T any](values []T, add func([]byte, T) []byte) []byte {
	var b []byte
	for _, v := range values {
		b = add(b, v)
	}
	return b
}

// manifestSum is the checksum of all but itself.
func manifestSum(whole []byte) sum {
	hash := xxh3.New()
	_, _ = hash.Write(whole[:16]) // never fails
	_, _ = hash.Write(whole[manifestHeaderBytes:])
	return hash.Sum128().Bytes()
}

// ---- reading ----

// readManifest reads a manifest, whose checksum the catalog has.
func readManifest(fsys vfs.FS, path, want string) (*manifest, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < manifestHeaderBytes+8*manifestColumns || size > maxManifestBytes {
		return nil, damaged(path, "it has %d bytes, and is no manifest", size)
	}
	whole := make([]byte, size)
	if err := vfs.ReadPieces(f, [][]byte{whole}, 0); err != nil {
		return nil, err
	}
	if string(whole[:8]) != manifestMagic {
		return nil, damaged(path, "it does not begin as a manifest")
	}
	if got := manifestSum(whole); got != sum(whole[16:]) || want != "" && sumText(got) != want {
		return nil, damaged(path, "it does not have its checksum")
	}
	if version := binary.LittleEndian.Uint32(whole[8:]); version != manifestVersion {
		return nil, damaged(path, "it has format version %d, this program knows %d", version, manifestVersion)
	}
	m, ok := decodeManifest(whole)
	if !ok {
		return nil, damaged(path, "it makes no sense")
	}
	return m, nil
}

func sumText(s sum) string { return ident(s).String() }

func decodeManifest(whole []byte) (*manifest, bool) {
	if binary.LittleEndian.Uint32(whole[12:]) != manifestColumns {
		return nil, false
	}
	var columns [manifestColumns][]byte
	rest := whole[manifestHeaderBytes+8*manifestColumns:]
	for i := range columns {
		length := binary.LittleEndian.Uint64(whole[manifestHeaderBytes+8*i:])
		if length > uint64(len(rest)) {
			return nil, false
		}
		columns[i], rest = rest[:length:length], rest[length:]
	}
	dtypes := strings.Split(string(columns[3]), "\n")
	m := &manifest{
		nameEnds: values(columns[0], 8, binary.LittleEndian.Uint64), names: columns[1],
		dtypeOf: values(columns[2], 2, binary.LittleEndian.Uint16), dtypes: dtypes[:len(dtypes)-1],
		shapeEnds: values(columns[4], 4, binary.LittleEndian.Uint32), dims: values(columns[5], 8, int64At),
		objectOf: values(columns[6], 4, binary.LittleEndian.Uint32), tieOf: values(columns[7], 4, binary.LittleEndian.Uint32),
		savedAs: values(columns[8], 4, binary.LittleEndian.Uint32),
		packOf:  values(columns[9], 4, binary.LittleEndian.Uint32), offsets: values(columns[10], 8, int64At),
		lengths: values(columns[11], 8, int64At),
		blocks:  values(columns[12], 16, func(b []byte) sum { return sum(b) }),
		packs:   values(columns[13], 16, func(b []byte) ident { return ident(b) }),
	}
	return m, len(rest) == 0 && m.tensorsMakeSense() && m.objectsMakeSense()
}

func int64At(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

func values[T any](b []byte, size int, at func([]byte) T) []T {
	all := make([]T, len(b)/size)
	for i := range all {
		all[i] = at(b[i*size:])
	}
	return all
}

// tensorsMakeSense says whether all that tensors refer to is there. The checksum says already that it was written so.
func (m *manifest) tensorsMakeSense() bool {
	n := m.count()
	if len(m.nameEnds) != n || len(m.shapeEnds) != n || len(m.objectOf) != n || len(m.tieOf) != n || len(m.savedAs) != n {
		return false
	}
	if !slices.IsSorted(m.nameEnds) || !slices.IsSorted(m.shapeEnds) {
		return false
	}
	if n > 0 && (m.nameEnds[n-1] != uint64(len(m.names)) || int(m.shapeEnds[n-1]) != len(m.dims)) {
		return false
	}
	for i := range n {
		if int(m.dtypeOf[i]) >= len(m.dtypes) || int(m.objectOf[i]) >= len(m.lengths) || int(m.savedAs[i]) >= n {
			return false
		}
	}
	return true
}

// objectsMakeSense does the same of objects, and finds where the blocks of each begin.
func (m *manifest) objectsMakeSense() bool {
	if len(m.packOf) != len(m.lengths) || len(m.offsets) != len(m.lengths) {
		return false
	}
	m.blockBegin = make([]uint64, len(m.lengths))
	next := uint64(0)
	for i, length := range m.lengths {
		if length < 0 || length > math.MaxInt64/2 || m.offsets[i] < 0 || m.offsets[i] > math.MaxInt64/2 {
			return false
		}
		if int(m.packOf[i]) >= len(m.packs) && length > 0 {
			return false
		}
		m.blockBegin[i] = next
		next += uint64(blocksIn(length))
	}
	return next == uint64(len(m.blocks))
}
