// Package main is the C interface of Persisting, built with
// -buildmode=c-shared. persisting.h is its contract.
//
// Each function of the header stands in shim.c, which refuses calls of forked
// processes and calls its Go half, an export of this package whose name ends in
// Go and which the version script exports.map hides. A Go half converts its
// arguments, calls the engine inside [guard], which turns errors and panics
// into a status, and writes its results. There is one file per noun, and no
// logic.
package main

func main() {}
