package wal

// WithSalt returns o with salts counted up from start, for files that are the same in every run.
func WithSalt(o Options, start uint32) Options {
	o.salt = func() uint32 {
		start++
		return start
	}
	return o
}
