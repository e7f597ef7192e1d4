package params

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/metrics"
)

// Report is what Verify found.
type Report struct {
	Sound    bool     `json:"sound"`
	Faults   []string `json:"faults"`
	Versions int      `json:"versions"` // that were looked at
	Bytes    int64    `json:"bytes"`    // of tensors that were read
}

// Verify reads all versions of a name, of all names if it is empty, and checks every byte of their tensors, each once.
func (s *Store) Verify(name string) (_ *Report, err error) {
	defer s.counted(metrics.Verify, time.Now(), &err)
	if err := s.open(); err != nil {
		return nil, err
	}
	all, faults, err := s.readable(name)
	if err != nil {
		return nil, err
	}
	r := &verifier{report: &Report{Faults: faults}, seen: map[location]bool{}}
	for _, n := range all {
		for _, e := range n.Versions {
			if err := r.version(s, n.Name, e.Version); err != nil {
				return nil, err
			}
		}
	}
	if name == "" {
		if err := r.packs(s); err != nil {
			return nil, err
		}
	}
	slices.Sort(r.report.Faults)
	r.report.Sound = len(r.report.Faults) == 0
	s.metrics.Verified(r.report.Bytes, int64(len(r.report.Faults)))
	return r.report, nil
}

// readable is the catalog, as far as it can be read, and what is wrong with the rest.
func (s *Store) readable(name string) (all []*Name, faults []string, err error) {
	if name != "" {
		n, err := s.Get(name)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) {
			return nil, nil, err
		}
		if err != nil {
			return nil, []string{err.Error()}, nil
		}
		return []*Name{n}, []string{}, nil
	}
	faults = []string{}
	err = s.walk(func(n *Name, err error) error {
		if err != nil {
			faults = append(faults, err.Error())
			return nil
		}
		all = append(all, n)
		return nil
	})
	return all, faults, err
}

type verifier struct {
	mu     sync.Mutex
	report *Report
	seen   map[location]bool
}

func (r *verifier) fault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Faults = append(r.report.Faults, err.Error())
}

// version checks what no version before has.
func (r *verifier) version(s *Store, name string, number uint64) error {
	v, err := s.Open(name, fmt.Sprint(number))
	if errors.Is(err, ErrNotFound) {
		return nil // it was deleted meanwhile
	}
	if err != nil {
		r.fault(err)
		return nil
	}
	r.report.Versions++
	var units []unit
	for i := range v.m.count() {
		object := v.m.objectOf[i]
		length := v.m.lengths[object]
		if length == 0 {
			continue
		}
		sums := r.layers(v, i)
		at := location{v.m.packs[v.m.packOf[object]], v.m.offsets[object]}
		if r.seen[at] || sums == nil {
			continue
		}
		r.seen[at] = true
		r.report.Bytes += length
		for block, check := range sums {
			from, to := pack.Range(int64(block), length)
			units = append(units, unit{tensor: i, pack: v.m.packOf[object], offset: at.offset + from, length: to - from, sum: check})
		}
	}
	return errors.Join(v.read(units, true, r.fault), v.Close())
}

// layers checks what no version before had of the layers of a tensor, and returns the checksums of the bytes below them; nil
// where they cannot be known.
func (r *verifier) layers(v *Weights, tensor int) []pack.Sum {
	object := v.m.objectOf[tensor]
	length := v.m.lengths[object]
	all := v.m.layersOf(object)
	for i := range all {
		l := &all[i]
		at := location{v.m.packs[l.pack], l.offset}
		if r.seen[at] {
			continue
		}
		r.seen[at] = true
		r.report.Bytes += l.length
		if err := v.checkLayer(l, length); err != nil {
			r.fault(v.place(&unit{tensor: tensor}, err))
		}
	}
	layers := v.chain(object)
	if layers == nil {
		return v.m.sumsOf(object)
	}
	sums, err := layers.anchorSums()
	if err != nil {
		return nil // which was told when the layer was looked at
	}
	return sums
}

// checkLayer reads all of a layer.
func (v *Weights) checkLayer(l *layer, length int64) error {
	opened, err := v.layer(l, length)
	if err != nil {
		return err
	}
	for block := range opened.blocks {
		if _, err := opened.payload(int64(block)); err != nil {
			return err
		}
	}
	return nil
}

// packs checks the indexes of packs, by which saves find what there is already.
func (r *verifier) packs(s *Store) error {
	files, err := s.o.FS.ReadDir(s.path(packs))
	if err != nil {
		return fmt.Errorf("params: verify: %w", err)
	}
	for _, file := range files {
		id, ok := parseIdent(file, packEnd)
		if !ok {
			continue
		}
		if _, err := pack.Read(s.o.FS, s.packPath(id), id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.fault(err)
		}
	}
	return nil
}
