package params

import (
	"errors"
	"io/fs"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/metrics"
)

// measure has the metrics of the store begin.
func (s *Store) measure() error {
	path, err := statefile.RealPath(s.dir)
	if err != nil {
		return err
	}
	s.metrics = s.o.Metrics.Parameters(path, s.survey, kindOf)
	return nil
}

// survey finds out what is in the directory. It passes no gate, so it holds nobody up and may see a version half gone.
func (s *Store) survey() (found metrics.ParametersState, err error) {
	defer engine.Contain(&err)
	found.Open = s.opened.Load()
	s.mu.Lock()
	found.Begun = int64(len(s.begun))
	s.mu.Unlock()
	all, err := s.List()
	if err != nil {
		return found, err
	}
	for _, n := range all {
		found.Names++
		for _, e := range n.Versions {
			found.Versions++
			found.TensorBytes += e.Bytes
			found.StoredBytes += e.Stored
			found.Newest = max(found.Newest, float64(e.Created)/1000)
		}
	}
	for _, dir := range []string{packs, manifests} {
		bytes, err := s.sizeOf(dir)
		if err != nil {
			return found, err
		}
		found.DiskBytes += bytes
	}
	tokens, err := s.o.FS.ReadDir(s.path(leases))
	found.Leases = int64(len(tokens))
	return found, err
}

// sizeOf is how much the files of a directory take. Those that go meanwhile take nothing.
func (s *Store) sizeOf(dir string) (bytes int64, err error) {
	files, err := s.o.FS.ReadDir(s.path(dir))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		info, err := s.o.FS.Stat(s.path(dir, file))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return 0, err
		default:
			bytes += info.Size
		}
	}
	return bytes, nil
}
