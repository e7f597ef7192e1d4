package main

import (
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/table"
)

// directoryRead gives out a cursor, whose calls are contained by its handle.
var directoryRead = table.ReadForeign

// directoryVerify is contained as the others are: files may be damaged in a way that nobody has thought of, and to look at them is
// no reason to end the use of the library.
func directoryVerify(dir string, quick bool) (inspect.Examination, error) {
	return contained(func() (inspect.Examination, error) {
		return inspect.Examine(dir, inspect.ExamineOptions{ReadRows: !quick})
	})
}

func directoryInspect(dir string) (inspect.Examination, error) {
	return contained(func() (inspect.Examination, error) {
		return inspect.Examine(dir, inspect.ExamineOptions{Layout: true})
	})
}

func directoryRepair(dir string, apply bool) (inspect.Repaired, error) {
	// The directory is one that nobody has open, so what a panic leaves half done is seen by no handle.
	return contained(func() (inspect.Repaired, error) { return inspect.Repair(dir, apply, bucket.Salvage) })
}
