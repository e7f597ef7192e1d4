// Package ringtest is the putter's side of a ring, for tests. It shares nothing with package ring but the description of the file.
//
// It stands above nothing of the project, and is used by tests alone, one goroutine at a time. What it writes is lost with the test.
package ringtest
