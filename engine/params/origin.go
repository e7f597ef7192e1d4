package params

import (
	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/vfs"
)

// origin is where the bytes are that a delta begins from: in memory, or in a version.
type origin struct {
	sums   []pack.Sum // of its blocks
	memory []byte     // nil: on the disk

	v      *Weights
	tensor int
	layers *chain // nil: what is below the layers is meant, or there are none
}

// originBuffer has room for a job, at the phase that objects have in a pack.
func originBuffer() []byte { return vfs.Aligned(jobBytes + pack.PageBytes) }

// read returns the bytes of blocks, at most jobBytes of them, which may be in the buffer.
func (o *origin) read(first, last int64, buffer []byte) ([]byte, error) {
	object := o.v.m.objectOf[o.tensor]
	length := o.v.m.lengths[object]
	from, _ := pack.Range(first, length)
	_, to := pack.Range(last-1, length)
	if o.memory != nil {
		return o.memory[from:to], nil
	}
	into := buffer[(from+pack.Phase)%pack.PageBytes:][:to-from]
	units := o.v.units(nil, o.tensor, Want{Tensor: o.tensor, Offset: from, Into: into}, true)
	for i := range units {
		units[i].chain, units[i].sum = o.layers, o.sums[units[i].block]
	}
	return into, o.v.readJob(units, true, nil)
}
