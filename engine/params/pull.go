package params

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/delta"
	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/engine/procs"
	"github.com/persisting/persisting/metrics"
	"golang.org/x/sync/errgroup"
)

const (
	// pullBlocks is how many blocks one processor brings up to date in one go.
	pullBlocks = 8
	// pullVersions is how many versions a pull looks for layers in.
	pullVersions = 64
	// pullShare is from how many hundredths of a tensor on its layers are more to read than it is worth.
	pullShare = 50
)

// Pulled is what a pull did.
type Pulled struct {
	Same   int   `json:"same"`   // tensors that were so already in the version before
	Told   int   `json:"told"`   // that were made of what was there
	Loaded int   `json:"loaded"` // that were read as a whole
	Read   int64 `json:"read"`   // bytes of layers and of tensors that were loaded
}

// Pull makes tensors of a version in memory those of this one, at the cost of what changed. Each want is a whole tensor, which is
// that of the version from where that has one of its name and length. With verify every block is checked before and after: one that
// is that of this version already is left alone, so a pull that failed can be done again, and one that is of neither version is an
// [ErrConflict]. Without verify nothing is checked.
func (v *Weights) Pull(from *Weights, wants []Want, verify bool) (_ *Pulled, err error) {
	defer v.s.counted(metrics.Pull, time.Now(), &err)
	leave, err := v.use(from)
	if err != nil {
		return nil, err
	}
	defer leave()
	p := &puller{v: v, from: from, verify: verify, found: &Pulled{}, incoming: map[pack.Sum][]hop{}}
	p.learn(v)
	if err = errors.Join(p.run(wants), p.close()); err == nil {
		v.s.metrics.Pulled(wanted(wants), p.found.Read)
	}
	return p.found, err
}

// use keeps two versions from being closed. All who do so take the locks in one order, as a Close that waits for one of them holds
// up all who come later.
func (v *Weights) use(other *Weights) (leave func(), err error) {
	first, second := v, other
	if uintptr(unsafe.Pointer(first)) > uintptr(unsafe.Pointer(second)) {
		first, second = second, first
	}
	first.mu.RLock()
	if first != second {
		second.mu.RLock()
	}
	leave = func() {
		if first != second {
			second.mu.RUnlock()
		}
		first.mu.RUnlock()
	}
	if v.closed || other.closed {
		leave()
		return nil, ErrClosed
	}
	return leave, nil
}

type puller struct {
	v, from  *Weights
	verify   bool
	found    *Pulled
	incoming map[pack.Sum][]hop // by the objects that they lead to
	opened   []*Weights         // versions between the two
	ended    bool               // there are no more of these
}

// hop is a layer of a version.
type hop struct {
	v *Weights
	l *layer
}

func (p *puller) learn(v *Weights) {
	for i := range v.m.layers {
		l := &v.m.layers[i]
		p.incoming[l.target] = append(p.incoming[l.target], hop{v, l})
	}
}

func (p *puller) close() error {
	var failed error
	for _, v := range p.opened {
		failed = errors.Join(failed, v.Close())
	}
	return failed
}

func (p *puller) run(wants []Want) error {
	all, units, err := p.plan(wants)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(procs.Cores())
	for i := range all {
		if err = p.open(&all[i]); err != nil {
			break
		}
		all[i].pull(&group, p.verify)
	}
	err = errors.Join(err, group.Wait())
	if err == nil {
		err = p.v.read(units, p.verify, nil)
	}
	return err
}

// plan finds the layers that lead to tensors, and has the system begin to read them; what has to be loaded is the other result.
func (p *puller) plan(wants []Want) (all []pulling, units []unit, err error) {
	places := p.v.m.places()
	for _, w := range wants {
		if w.Tensor < 0 || w.Tensor >= len(places) {
			return nil, nil, invalid("tensor %d, want 0 to %d", w.Tensor, len(places)-1)
		}
		i := places[w.Tensor]
		if length := p.v.m.length(i); w.Offset != 0 || int64(len(w.Into)) != length {
			return nil, nil, invalid("tensor %q has %d bytes, not %d from %d on: a pull is of whole tensors", p.v.m.name(i), length, len(w.Into), w.Offset)
		}
		t, err := p.tensor(i, w.Into)
		if err != nil {
			return nil, nil, err
		}
		if t == nil {
			p.found.Loaded++
			p.found.Read += int64(len(w.Into))
			units = p.v.units(units, i, w, p.verify)
			continue
		}
		all = append(all, *t)
	}
	return all, units, nil
}

// pulling is a tensor that is made of the one before.
type pulling struct {
	tensor int
	name   string
	into   []byte
	hops   []hop       // none where it is the same
	layers []openLayer // those
	sums   []pack.Sum  // of it
}

// tensor finds the layers that lead to a tensor, nil where it has to be loaded.
func (p *puller) tensor(i int, into []byte) (*pulling, error) {
	name, object := string(p.v.m.name(i)), p.v.m.objectOf[i]
	length := p.v.m.lengths[object]
	before, found := p.from.m.find(name)
	if !found || p.from.m.length(before) != length {
		return nil, nil
	}
	t := &pulling{tensor: i, name: name, into: into, sums: p.v.m.sumsOf(object)}
	start, end := p.from.m.identity(p.from.m.objectOf[before]), p.v.m.identity(object)
	if start == end {
		p.found.Same++
		return t, nil
	}
	hops, err := p.route(start, end)
	if err != nil || hops == nil {
		return nil, err
	}
	size := int64(0)
	for _, h := range hops {
		size += h.l.length
	}
	if size > length*pullShare/100 {
		return nil, nil
	}
	for _, h := range hops {
		h.v.ask(h.l)
	}
	t.hops = hops
	p.found.Told++
	p.found.Read += size
	return t, nil
}

// open reads the heads of the layers.
func (p *puller) open(t *pulling) error {
	for _, h := range t.hops {
		l, err := h.v.layer(h.l, int64(len(t.into)))
		if err != nil {
			return h.v.place(&unit{tensor: t.tensor}, err)
		}
		t.layers = append(t.layers, *l)
	}
	return nil
}

// route is how one object becomes another, by layers of this version or of those that it comes from.
func (p *puller) route(start, end pack.Sum) ([]hop, error) {
	for {
		if hops := p.search(start, end, map[pack.Sum]bool{}); hops != nil || p.ended {
			return hops, nil
		}
		if err := p.further(); err != nil {
			return nil, err
		}
	}
}

func (p *puller) search(start, end pack.Sum, seen map[pack.Sum]bool) []hop {
	for _, h := range p.incoming[end] {
		if h.l.base == start {
			return []hop{h}
		}
		if seen[h.l.base] {
			continue
		}
		seen[h.l.base] = true
		if hops := p.search(start, h.l.base, seen); hops != nil {
			return append(hops, h)
		}
	}
	return nil
}

// further opens the version that the last one comes from, up to the one that the tensors are of.
func (p *puller) further() error {
	last := p.v
	if n := len(p.opened); n > 0 {
		last = p.opened[n-1]
	}
	p.ended = true
	if last.Entry.Base == 0 || last.Entry.Version <= p.from.Entry.Version || len(p.opened) == pullVersions {
		return nil
	}
	v, err := p.v.s.Open(p.v.Name, fmt.Sprint(last.Entry.Base))
	if errors.Is(err, ErrNotFound) {
		return nil // it was deleted, so this is as far as layers are known
	}
	if err != nil {
		return err
	}
	p.opened, p.ended = append(p.opened, v), false
	p.learn(v)
	return nil
}

// pull brings the blocks of a tensor up to date.
func (t *pulling) pull(group *errgroup.Group, verify bool) {
	if len(t.layers) == 0 && !verify {
		return
	}
	for first := 0; first < len(t.sums); first += pullBlocks {
		group.Go(func() (err error) {
			defer engine.Contain(&err)
			for block := first; block < min(first+pullBlocks, len(t.sums)); block++ {
				from, to := pack.Range(int64(block), int64(len(t.into)))
				if err := t.block(int64(block), t.into[from:to], verify); err != nil {
					return &ReadError{t.name, err}
				}
			}
			return nil
		})
	}
}

func (t *pulling) block(block int64, data []byte, verify bool) error {
	first := 0
	if verify {
		now := pack.SumOf(data)
		if now == t.sums[block] {
			return nil
		}
		if first = t.since(block, now); first < 0 {
			return fmt.Errorf("%w: the block %d of what is in memory is of neither version", ErrConflict, block)
		}
	}
	if err := applyLayers(t.layers[first:], block, data); err != nil {
		return err
	}
	if verify && pack.SumOf(data) != t.sums[block] {
		return t.layers[len(t.layers)-1].damage(block, "the layers up to this one make another block than they should")
	}
	return nil
}

// since is the first layer that is still to be applied to a block, by what it is now; -1 where none is.
func (t *pulling) since(block int64, now pack.Sum) int {
	for i := len(t.layers) - 1; i >= 0; i-- {
		if b := &t.layers[i].blocks[block]; b.base == now && b.code != delta.Same {
			return i
		}
	}
	return -1
}
