package wal

// WithSalt returns o with salts counted up from start, for files that are the same in every run.
func WithSalt(o Options, start uint32) Options {
	o.salt = func() uint32 {
		start++
		return start
	}
	return o
}

// AppendNow defers an entry and writes it, as most callers do.
func (l *Log) AppendNow(preamble []byte, body [][]byte, rows int64, done func(error)) (first int64, err error) {
	if first, err = l.Defer(preamble, body, rows, done); err == nil {
		l.WriteNow()
	}
	return first, err
}
