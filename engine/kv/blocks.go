package kv

import (
	"time"

	"github.com/persisting/persisting/engine/kv/transfer"
)

// Blocks is a store: one of this process, or a client of one that another serves.
type Blocks interface {
	Space(namespace, salt string) (uint32, error)
	Exists(space uint32, key []byte, lease time.Duration) (int64, error)
	ExistsAll(space uint32, keys [][]byte, lease time.Duration, lengths []int64) error
	Prefix(space uint32, keys [][]byte, lease time.Duration) (int, error)
	Get(b *transfer.Batch) error
	Set(b *transfer.Batch) error
	SubmitGet(b *transfer.Batch) (uint64, error)
	SubmitSet(b *transfer.Batch) (uint64, error)
	SetWaker(wake func())
	Drain(tickets []uint64) int
	Delete(space uint32, key []byte) (bool, error)
	Touch(space uint32, key []byte, ttl time.Duration) (bool, error)
	Pin(space uint32, key []byte) (bool, error)
	Unpin(space uint32, key []byte) (bool, error)
	Locate(space uint32, keys [][]byte, lease time.Duration) ([]*Location, error)
	Keys(namespace string, from Cursor, limit int) ([]Key, *Cursor, error)
	DropNamespace(namespace string) (int64, error)
	SetQuota(salt string, bytes int64) error
	Report() (Stats, error)
	Verify() (Verified, error)
	Evict(bytes int64) error
	Flush() error
	Close() error
}

var _ Blocks = (*Store)(nil)
