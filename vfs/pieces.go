package vfs

import (
	"errors"
	"io"
)

// pieceReader is a File that fills several pieces with one call to the kernel.
type pieceReader interface {
	readPieces(pieces [][]byte, off int64) error
}

// ReadPieces fills the pieces one after the other from off on. It fills all of them or returns an error, io.ErrUnexpectedEOF
// where the file ends before. A block and what stands before it are then one request to the disk and not two, which matters
// most where nothing is in memory.
func ReadPieces(f File, pieces [][]byte, off int64) error {
	if all, ok := f.(pieceReader); ok {
		return all.readPieces(pieces, off)
	}
	for _, p := range pieces {
		n, err := f.ReadAt(p, off)
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		off += int64(n)
	}
	return nil
}

// OpenSized opens a file for reading and says how long it is.
func OpenSized(fsys FS, path string) (File, int64, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}
