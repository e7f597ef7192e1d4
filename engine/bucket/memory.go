package bucket

// account tells the budget what the bucket takes. The caller holds b.mu.
func (b *Bucket) account() { b.share.Set(b.tail.bytes + b.pages.Bytes()) }

// crowded says that the bucket has more unflushed rows than the budget has room
// for. The caller holds b.mu.
func (b *Bucket) crowded() bool {
	return b.opts.Budget.Over() && b.unflushed > b.opts.Budget.Fair()
}

// shrink gives up half of the rows that are in memory and in Lance as well, and
// asks for a flush where that does not help.
func (b *Bucket) shrink() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tail.evict(b.checkpoint, (b.tail.bytes-b.tail.bytesFrom(b.checkpoint))/2)
	b.pages.Shrink(b.pages.Bytes() / 2)
	b.account()
	if b.crowded() {
		signal(b.kick)
	}
}
