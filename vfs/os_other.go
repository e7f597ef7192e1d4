//go:build !linux

package vfs

// WriteAt overrides the method of os.File.
func (f *osFile) WriteAt(pieces [][]byte, off int64) error {
	for _, p := range pieces {
		n, err := f.File.WriteAt(p, off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

func (f *osFile) WriteSync(pieces [][]byte, off int64) error {
	if err := f.WriteAt(pieces, off); err != nil {
		return err
	}
	return f.Datasync()
}

// Datasync is a whole sync where the system has no other.
func (f *osFile) Datasync() error { return f.Sync() }

func (f *osFile) Preallocate(size int64) error { return f.Truncate(size) }

// intoHugePage leaves the memory in the pages that it has.
func intoHugePage([]byte) {}

// StartWriteback leaves everything to the sync that is due later.
func StartWriteback(string) {}
