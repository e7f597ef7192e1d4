package remote

import (
	"fmt"
	"sync"
	"time"

	"github.com/persisting/persisting/engine/kv"
)

const (
	// patience is how long a client may take to send what it has begun, or to take what it has asked for.
	patience = 30 * time.Second
	// grant is the longest lease that is given at once. A longer one, or a pin, is given anew while the client is connected.
	grant = 10 * time.Second
	// maxHeld bounds the leases beyond a grant that one connection holds.
	maxHeld = 1 << 18
)

// shared is what the clients of a server have in common.
type shared struct {
	store   *kv.Store
	options kv.Options
	room    room // for what is being received

	mutex  sync.Mutex // guards pinned
	pinned int64      // bytes that clients have pinned
}

// pins counts bytes that a client pins, unless they are too many with those that are pinned.
func (s *shared) pins(bytes int64) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if now := s.pinned + s.store.PinnedBytes(); now+bytes > s.options.CapacityBytes/2 {
		return fmt.Errorf("%w: %d bytes are pinned", kv.ErrPinned, now)
	}
	s.pinned += bytes
	return nil
}

func (s *shared) unpins(bytes int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.pinned -= bytes
}

// room bounds bytes of memory.
type room struct {
	mu    sync.Mutex
	freed sync.Cond
	most  int64
	taken int64
}

func (r *room) init(most int64) { r.most, r.freed.L = most, &r.mu }

// take waits until there is room. What is more than all of it has it alone.
func (r *room) take(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.taken > 0 && r.taken+n > r.most {
		r.freed.Wait()
	}
	r.taken += n
}

func (r *room) put(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= n
	r.freed.Broadcast()
}
