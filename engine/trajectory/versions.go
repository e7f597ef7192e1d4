package trajectory

// versions are those of the policy, of each row; of a store, from the first sample on that wants no older ones.
type versions struct {
	chunks []*[chunkRows]int32
	newest []int32 // of the rows of each chunk
	rows   int64
}

// add notes the versions of the rows that come next.
func (v *versions) add(values []int32) {
	for _, version := range values {
		if v.rows&(chunkRows-1) == 0 {
			v.chunks, v.newest = append(v.chunks, new([chunkRows]int32)), append(v.newest, version)
		}
		n := v.rows >> chunkBits
		v.chunks[n][v.rows&(chunkRows-1)] = version
		v.newest[n] = max(v.newest[n], version)
		v.rows++
	}
}

// at is the version of a row.
func (v *versions) at(offset int64) int32 { return v.chunks[offset>>chunkBits][offset&(chunkRows-1)] }

// from is a row before which all are older.
func (v *versions) from(oldest int32) int64 {
	for n, newest := range v.newest {
		if newest >= oldest {
			return int64(n) << chunkBits
		}
	}
	return v.rows
}
