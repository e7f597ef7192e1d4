// Package ringtest is the putter's side of a ring, for tests. It shares nothing with package ring but the description of the file.
package ringtest
