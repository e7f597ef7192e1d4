package params

import (
	"slices"

	"github.com/persisting/persisting/metrics"
)

// account says how the tensors of a version were stored, from where its manifest says that they are: in packs that were made for it,
// or in others. A tensor whose bytes are those of another one of the version shares them.
func (v *saving) account(entry *Entry) metrics.SavedBytes {
	own := make([]bool, len(v.m.packs))
	for i, id := range v.m.packs {
		own[i] = slices.Contains(v.made, id)
	}
	account := metrics.SavedBytes{Written: entry.Stored}
	told := make([]bool, len(v.m.lengths))
	for _, object := range v.m.objectOf {
		length, layers := v.m.lengths[object], v.m.layersOf(object)
		switch {
		case told[object] || length == 0:
			account.Shared += length
		case len(layers) > 0 && own[layers[len(layers)-1].pack] && !own[v.m.packOf[object]]:
			account.Changed += length
		case own[v.m.packOf[object]]:
			account.Whole += length
		default:
			account.Shared += length
		}
		told[object] = true
	}
	return account
}
