package main

import (
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/inspect"
	"github.com/persisting/persisting/engine/table"
)

var directoryRead = table.ReadForeign

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
	// Without a handle, so a panic is of this call: what it worked on is a directory that nobody
	// has open.
	return contained(func() (inspect.Repaired, error) { return inspect.Repair(dir, apply, bucket.Salvage) })
}
