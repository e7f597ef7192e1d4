// Package main is the C interface of Persisting, built with
// -buildmode=c-shared. persisting.h is its contract.
//
// Three pieces are made of a function of the header. The first, in C
// (shim_functions.c), refuses calls of forked processes and arguments that the
// header rules out, and calls the second, the Go half (halves.go): an export
// whose name ends in Go, and which the version script exports.map hides. It
// takes the arguments from C, finds what the handle stands for, turns errors and
// panics into a status, inside [guard], and writes the results. What is left is
// written here, one file per noun: bucketRenew for persisting_bucket_renew, a
// function of Go's own types, or a variable that is the method which it is.
// There is no logic in it. `_build/go_halves.py` says what becomes of each type.
//
// # Layers
//
// Above all of Go, and the only package that knows C's types. What calls it is in another language: Python's _engine, or a program in C.
//
// # Concurrency
//
// Each function may be called from any thread. A call holds a reference to its handle; a close ends the handle for calls to come, ends
// what those that run wait for, and returns when they have. A thread that is in a call holds no lock of this package.
//
// # What a crash costs
//
// The handles. Nothing is on disk that this package writes.
package main

func main() {}
