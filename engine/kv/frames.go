package kv

func appendEntry(b []byte, e *entry) []byte {
	b = le.AppendUint64(b, e.hash)
	for _, field := range []uint32{e.page, e.length, e.sum, e.expires, e.state, 0} {
		b = le.AppendUint32(b, field)
	}
	return b
}

func readEntry(b []byte) entry {
	return entry{
		hash:    le.Uint64(b),
		page:    le.Uint32(b[8:]),
		length:  le.Uint32(b[12:]),
		sum:     le.Uint32(b[16:]),
		expires: le.Uint32(b[20:]),
		state:   le.Uint32(b[24:]),
	}
}

func ownerContent(o *owner) []byte {
	b := le.AppendUint32(nil, o.number)
	b = le.AppendUint32(b, uint32(len(o.namespace)))
	return append(append(b, o.namespace...), o.salt...)
}

func quotaContent(salt string, quota int64) []byte {
	return append(le.AppendUint64(nil, uint64(quota)), salt...)
}

// placeContent says which block a note is about.
func placeContent(g *segment, page uint32) []byte {
	b := le.AppendUint32(make([]byte, 0, 24), g.Slot)
	return le.AppendUint32(le.AppendUint64(b, g.Epoch()), page)
}

func changeContent(g *segment, e *entry) []byte {
	b := le.AppendUint32(placeContent(g, e.page), e.expires)
	return le.AppendUint32(b, e.state&pinnedBit)
}
