package params

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/vfs"
	"github.com/zeebo/xxh3"
)

const (
	// What follows never changes.
	manifestMagic = "\x89PMAN\r\n\x1a"

	manifestVersion     = 1
	manifestColumns     = 14
	manifestHeaderBytes = 32

	// A manifest with layers has more columns. One without is as those of before, and programs of before read it.
	layeredVersion = 2
	layeredColumns = manifestColumns + 8

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
	blocks     []pack.Sum
	packs      []ident
	blockBegin []uint64 // of objects, derived from lengths

	// What follows is empty where no object has layers.
	layerEnds []uint32   // of objects, as the next two
	ages      []uint32   // versions since the anchor
	anchors   []pack.Sum // what the raw bytes are, where there are layers
	layers    []layer
}

// layer is a delta: a coded object that makes one object of another.
type layer struct {
	pack           uint32
	offset, length int64    // in the pack
	base, target   pack.Sum // identities
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
func (m *manifest) sumsOf(object uint32) []pack.Sum {
	first := m.blockBegin[object]
	return m.blocks[first : first+uint64(pack.Blocks(m.lengths[object]))]
}

// identity is that of an object.
func (m *manifest) identity(object uint32) pack.Sum {
	return pack.Identify(m.lengths[object], m.sumsOf(object))
}

// layersOf are all layers that a manifest has of an object.
func (m *manifest) layersOf(object uint32) []layer {
	if len(m.layers) == 0 {
		return nil
	}
	return m.layers[begin(m.layerEnds, int(object)):m.layerEnds[object]]
}

// chain are the layers that make an object of its raw bytes, in order: none where those are it. The last of layersOf may be
// none of them: it is for those who have the version before.
func (m *manifest) chain(object uint32) []layer {
	all := m.layersOf(object)
	if len(all) == 0 {
		return nil
	}
	var chain []layer
	now, wanted := m.anchors[object], m.identity(object)
	for _, l := range all {
		if now != wanted && l.base == now {
			chain = append(chain, l)
			now = l.target
		}
	}
	return chain
}

// age is how many versions of an object there were since its anchor.
func (m *manifest) age(object uint32) uint32 {
	if len(m.layersOf(object)) == 0 {
		return 0
	}
	return m.ages[object]
}

// anchor is what the raw bytes are that an object comes from.
func (m *manifest) anchor(object uint32) pack.Sum {
	if len(m.layersOf(object)) == 0 {
		return m.identity(object)
	}
	return m.anchors[object]
}

// leads says whether the layers of an object lead to it.
func (m *manifest) leads(object uint32) bool {
	now := m.anchors[object]
	for _, l := range m.chain(object) {
		now = l.target
	}
	return now == m.identity(object)
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
	columns := [][]byte{
		column(m.nameEnds, binary.LittleEndian.AppendUint64), m.names,
		column(m.dtypeOf, binary.LittleEndian.AppendUint16), []byte(dtypes),
		column(m.shapeEnds, binary.LittleEndian.AppendUint32), column(m.dims, appendInt64),
		column(m.objectOf, binary.LittleEndian.AppendUint32), column(m.tieOf, binary.LittleEndian.AppendUint32),
		column(m.savedAs, binary.LittleEndian.AppendUint32),
		column(m.packOf, binary.LittleEndian.AppendUint32), column(m.offsets, appendInt64), column(m.lengths, appendInt64),
		column(m.blocks, appendSum),
		column(m.packs, func(b []byte, id ident) []byte { return append(b, id[:]...) }),
	}
	version := uint32(manifestVersion)
	if len(m.layers) > 0 {
		version = layeredVersion
		columns = append(columns,
			column(m.layerEnds, binary.LittleEndian.AppendUint32), column(m.ages, binary.LittleEndian.AppendUint32),
			column(m.anchors, appendSum),
			column(m.layers, func(b []byte, l layer) []byte { return binary.LittleEndian.AppendUint32(b, l.pack) }),
			column(m.layers, func(b []byte, l layer) []byte { return appendInt64(b, l.offset) }),
			column(m.layers, func(b []byte, l layer) []byte { return appendInt64(b, l.length) }),
			column(m.layers, func(b []byte, l layer) []byte { return appendSum(b, l.base) }),
			column(m.layers, func(b []byte, l layer) []byte { return appendSum(b, l.target) }),
		)
	}
	whole := make([]byte, manifestHeaderBytes, manifestHeaderBytes+8*len(columns))
	copy(whole, manifestMagic)
	binary.LittleEndian.PutUint32(whole[8:], version)
	binary.LittleEndian.PutUint32(whole[12:], uint32(len(columns)))
	for _, c := range columns {
		whole = binary.LittleEndian.AppendUint64(whole, uint64(len(c)))
	}
	whole = append(whole, slices.Concat(columns...)...)
	check := manifestSum(whole)
	copy(whole[16:], check[:])
	return whole
}

func appendInt64(b []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(n)) }

func appendSum(b []byte, s pack.Sum) []byte { return append(b, s[:]...) }

func column[T any](values []T, add func([]byte, T) []byte) []byte {
	var b []byte
	for _, v := range values {
		b = add(b, v)
	}
	return b
}

// manifestSum is the checksum of all but itself.
func manifestSum(whole []byte) pack.Sum {
	hash := xxh3.New()
	_, _ = hash.Write(whole[:16]) // never fails
	_, _ = hash.Write(whole[manifestHeaderBytes:])
	return hash.Sum128().Bytes()
}

// ---- reading ----

// readManifest reads a manifest, whose checksum the catalog has.
func readManifest(fsys vfs.FS, path, want string) (*manifest, error) {
	f, size, err := vfs.OpenSized(fsys, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size < manifestHeaderBytes+8*manifestColumns || size > maxManifestBytes {
		return nil, pack.Damaged(path, "it has %d bytes, and is no manifest", size)
	}
	whole := make([]byte, size)
	if err := vfs.ReadPieces(f, [][]byte{whole}, 0); err != nil {
		return nil, err
	}
	if string(whole[:8]) != manifestMagic {
		return nil, pack.Damaged(path, "it does not begin as a manifest")
	}
	if got := manifestSum(whole); got != pack.Sum(whole[16:]) || want != "" && sumText(got) != want {
		return nil, pack.Damaged(path, "it does not have its checksum")
	}
	if version := binary.LittleEndian.Uint32(whole[8:]); version < manifestVersion || version > layeredVersion {
		return nil, pack.Damaged(path, "it has format version %d, this program knows %d to %d", version, manifestVersion, layeredVersion)
	}
	m, ok := decodeManifest(whole)
	if !ok {
		return nil, pack.Damaged(path, "it makes no sense")
	}
	return m, nil
}

func sumText(s pack.Sum) string { return ident(s).String() }

func decodeManifest(whole []byte) (*manifest, bool) {
	count := manifestColumns
	if binary.LittleEndian.Uint32(whole[8:]) == layeredVersion {
		count = layeredColumns
	}
	if binary.LittleEndian.Uint32(whole[12:]) != uint32(count) || len(whole) < manifestHeaderBytes+8*count {
		return nil, false
	}
	columns := make([][]byte, layeredColumns) // of which there may be fewer
	rest := whole[manifestHeaderBytes+8*count:]
	for i := range count {
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
		blocks:  values(columns[12], 16, sumAt),
		packs:   values(columns[13], 16, func(b []byte) ident { return ident(b) }),

		layerEnds: values(columns[14], 4, binary.LittleEndian.Uint32), ages: values(columns[15], 4, binary.LittleEndian.Uint32),
		anchors: values(columns[16], 16, sumAt),
	}
	layers, ok := layersIn(columns[manifestColumns+3:])
	m.layers = layers
	return m, ok && len(rest) == 0 && m.tensorsMakeSense() && m.objectsMakeSense() && m.layersMakeSense()
}

// layersIn reads the columns of layers.
func layersIn(columns [][]byte) ([]layer, bool) {
	count := len(columns[0]) / 4
	for i, size := range []int{4, 8, 8, 16, 16} {
		if len(columns[i]) != size*count {
			return nil, false
		}
	}
	layers := make([]layer, count)
	for i := range layers {
		layers[i] = layer{
			binary.LittleEndian.Uint32(columns[0][4*i:]), int64At(columns[1][8*i:]), int64At(columns[2][8*i:]),
			sumAt(columns[3][16*i:]), sumAt(columns[4][16*i:]),
		}
	}
	return layers, true
}

func sumAt(b []byte) pack.Sum { return pack.Sum(b[:16]) }

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

// objectsMakeSense does the same of objects.
func (m *manifest) objectsMakeSense() bool {
	if len(m.packOf) != len(m.lengths) || len(m.offsets) != len(m.lengths) {
		return false
	}
	for i, length := range m.lengths {
		if length < 0 || length > math.MaxInt64/2 || m.offsets[i] < 0 || m.offsets[i] > math.MaxInt64/2 {
			return false
		}
		if int(m.packOf[i]) >= len(m.packs) && length > 0 {
			return false
		}
	}
	return m.indexBlocks() == uint64(len(m.blocks))
}

// indexBlocks finds where the blocks of each object begin, and returns how many there are.
func (m *manifest) indexBlocks() (next uint64) {
	m.blockBegin = make([]uint64, len(m.lengths))
	for i, length := range m.lengths {
		m.blockBegin[i] = next
		next += uint64(pack.Blocks(length))
	}
	return next
}

// layersMakeSense does the same of layers: those of each object lead to it.
func (m *manifest) layersMakeSense() bool {
	n := len(m.lengths)
	if len(m.layers) == 0 {
		return len(m.layerEnds) == 0 && len(m.ages) == 0 && len(m.anchors) == 0
	}
	if len(m.layerEnds) != n || len(m.ages) != n || len(m.anchors) != n || !slices.IsSorted(m.layerEnds) || int(m.layerEnds[n-1]) != len(m.layers) {
		return false
	}
	for i := range m.layers {
		l := &m.layers[i]
		if int(l.pack) >= len(m.packs) || l.offset < 0 || l.length < 0 || l.offset > math.MaxInt64/2 || l.length > math.MaxInt64/2 {
			return false
		}
	}
	for object := range uint32(n) {
		if len(m.layersOf(object)) > 0 && !m.leads(object) {
			return false
		}
	}
	return true
}
