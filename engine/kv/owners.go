package kv

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
)

// owner is a namespace with a salt: what blocks are counted for.
type owner struct {
	number          uint32
	namespace, salt string
	seed            uint64 // of the hashes of its keys, the same for all salts of a namespace
	keys, bytes     atomic.Int64
	noted           atomic.Bool // the catalog has it
	over            atomic.Bool // its salt takes more than its quota
}

func (o *owner) hash(key []byte) uint64 { return xxh3.HashSeed(key, o.seed) }

// owners finds them by number and by name.
type owners struct {
	mu     sync.RWMutex
	seed   uint64
	list   []*owner
	byName map[[2]string]*owner
	quotas map[string]int64
}

// intern returns the owner of that name, made if it is new.
func (x *owners) intern(namespace, salt string) (*owner, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if o := x.byName[[2]string{namespace, salt}]; o != nil {
		return o, nil
	}
	if len(x.list) > ownerMask {
		return nil, fmt.Errorf("%w: there are %d namespaces and salts already", ErrInvalid, len(x.list))
	}
	o := &owner{number: uint32(len(x.list)), namespace: namespace, salt: salt}
	o.seed = xxh3.HashStringSeed(namespace, x.seed)
	x.list = append(x.list, o)
	if x.byName == nil {
		x.byName = map[[2]string]*owner{}
	}
	x.byName[[2]string{namespace, salt}] = o
	return o, nil
}

// get returns the owner of a number, nil where there is none.
func (x *owners) get(number uint32) *owner {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if int(number) >= len(x.list) {
		return nil
	}
	return x.list[number]
}

// all returns those there are.
func (x *owners) all() []*owner {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.list[:len(x.list):len(x.list)]
}

// setQuota bounds what a salt may keep when room is needed; 0 is without bound.
func (x *owners) setQuota(salt string, bytes int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.quotas == nil {
		x.quotas = map[string]int64{}
	}
	if x.quotas[salt] = bytes; bytes == 0 {
		delete(x.quotas, salt)
	}
}

// usage returns the bytes of each salt, and their quotas.
func (x *owners) usage() (bytes, quotas map[string]int64) {
	bytes, quotas = map[string]int64{}, map[string]int64{}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, o := range x.list {
		bytes[o.salt] += o.bytes.Load()
	}
	for salt, quota := range x.quotas {
		quotas[salt] = quota
	}
	return bytes, quotas
}

// judge finds the owners whose salts take more than their quotas.
func (x *owners) judge() {
	bytes, quotas := x.usage()
	for _, o := range x.all() {
		quota, bounded := quotas[o.salt]
		o.over.Store(bounded && bytes[o.salt] > quota)
	}
}
