package remote

import (
	"fmt"
	"math"
	"time"

	"github.com/persisting/persisting/engine/content"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/trajectory"
)

// verbs are what a call can ask for.
var verbs = map[string]func(*visitor, *asked, *answer) error{
	"begin":      begin,
	"append":     appendRows,
	"finish":     finish,
	"close_lost": closeLost,
	"keep":       keep,
	"remove":     remove,
	"sheet":      makeSheet,
	"ask":        askSheet,
	"send":       send,
	"end":        end,

	"describe":     describe,
	"read":         read,
	"take":         take,
	"kept":         kept,
	"steps":        query((*trajectory.Store).Steps),
	"episodes":     query((*trajectory.Store).Episodes),
	"are_steps":    areSteps,
	"are_episodes": areEpisodes,
	"schema":       schema,
	"stats":        stats,
	"flush":        flush,

	"sampler":       makeSampler,
	"refresh":       sampled(func(p *trajectory.Sampler, _ *asked) error { return p.Refresh() }),
	"wait":          sampled(func(p *trajectory.Sampler, a *asked) error { return p.Wait(a.Count, 0) }),
	"wait_for_room": sampled(func(p *trajectory.Sampler, a *asked) error { return p.WaitForRoom(a.Count, 0) }),
	"prioritize":    prioritize,
	"priorities":    priorities,

	"lease":   lease,
	"ack":     ack,
	"pending": pending,
	"tag":     named((*trajectory.Store).Tag),
	"restore": named((*trajectory.Store).Restore),
	"untag":   named((*trajectory.Store).Untag),
	"tags":    tags,
}

// number is that of an episode.
func (a *asked) number() (uint32, error) {
	if a.Number < 0 || a.Number > math.MaxUint32 {
		return 0, fmt.Errorf("%w: there is no episode of number %d", trajectory.ErrNotFound, a.Number)
	}
	return uint32(a.Number), nil
}

// ---- writing ----

func begin(c *visitor, a *asked, out *answer) error {
	number, next, err := c.store.Begin(a.Episode)
	if err != nil {
		return err
	}
	return out.value(map[string]int64{"number": int64(number), "next": next})
}

func appendRows(c *visitor, a *asked, out *answer) error {
	number, err := a.number()
	if err != nil {
		return err
	}
	rows, err := a.record()
	if err != nil {
		return err
	}
	defer rows.Release()
	stored, err := c.store.Append(number, a.Step, rows, a.Final)
	if err != nil {
		return err
	}
	return out.value(map[string]int64{"stored": stored})
}

func finish(c *visitor, a *asked, out *answer) error {
	number, err := a.number()
	if err != nil {
		return err
	}
	end, err := trajectory.ParseEnding(a.Ending)
	if err != nil {
		return err
	}
	return done(out, c.store.Finish(number, end))
}

func closeLost(c *visitor, a *asked, out *answer) error {
	if most := math.MaxInt64 / int64(time.Millisecond); a.IdleMs < 0 || a.IdleMs > most {
		return fmt.Errorf("%w: idle_ms is %d, want 0 to %d", trajectory.ErrInvalid, a.IdleMs, most)
	}
	count, err := c.store.CloseLost(time.Duration(a.IdleMs) * time.Millisecond)
	if err != nil {
		return err
	}
	return out.value(map[string]int{"count": count})
}

func remove(c *visitor, a *asked, out *answer) error {
	count, err := c.store.Remove(a.IDs)
	if err != nil {
		return err
	}
	return out.value(map[string]int{"count": count})
}

// keep stores values by what they are, and answers with their names, one behind the other.
func keep(c *visitor, a *asked, out *answer) error {
	values, err := a.record()
	if err != nil {
		return err
	}
	defer values.Release()
	names, err := c.store.Keep(values)
	if err != nil {
		return err
	}
	found := make([]byte, 0, len(names)*content.NameBytes)
	for _, name := range names {
		found = append(found, name[:]...)
	}
	return out.content(found)
}

// ---- reading ----

func describe(c *visitor, a *asked, out *answer) error {
	found, err := c.store.Describe(a.ID)
	if err != nil {
		return err
	}
	return out.value(found)
}

func read(c *visitor, a *asked, out *answer) error {
	number, err := a.number()
	if err != nil {
		return err
	}
	cursor, err := c.store.Read(number)
	if err != nil {
		return err
	}
	return out.rows(cursor)
}

func take(c *visitor, a *asked, out *answer) error {
	offsets, err := a.integers()
	if err != nil {
		return err
	}
	cursor, err := c.store.Take(offsets)
	if err != nil {
		return err
	}
	return out.rows(cursor)
}

func kept(c *visitor, a *asked, out *answer) error {
	names, err := content.ParseNames(a.bytes)
	if err != nil {
		return err
	}
	cursor, err := c.store.Kept(names)
	if err != nil {
		return err
	}
	return out.rows(cursor)
}

// query is the verb of what answers queries.
func query(ask func(*trajectory.Store, table.Query) (*table.Cursor, error)) func(*visitor, *asked, *answer) error {
	return func(c *visitor, a *asked, out *answer) error {
		q, err := table.ParseQuery(a.Query)
		if err != nil {
			return err
		}
		cursor, err := ask(c.store, q)
		if err != nil {
			return err
		}
		return out.rows(cursor)
	}
}

func areSteps(c *visitor, a *asked, out *answer) error {
	offsets, err := a.integers()
	if err != nil {
		return err
	}
	found := make([]bool, len(offsets))
	c.store.AreSteps(offsets, found)
	return out.bools(found)
}

func areEpisodes(c *visitor, a *asked, out *answer) error {
	both, err := a.words(2)
	if err != nil {
		return err
	}
	offsets, numbers := integers(both[:a.Count]), integers(both[a.Count:])
	found := make([]bool, len(offsets))
	if err := c.store.AreEpisodes(offsets, numbers, found); err != nil {
		return err
	}
	return out.bools(found)
}

func schema(c *visitor, _ *asked, out *answer) error { return out.columns(c.store.Schema()) }

func stats(c *visitor, _ *asked, out *answer) error { return out.value(c.store.Stats()) }

func flush(c *visitor, _ *asked, out *answer) error { return done(out, c.store.Flush()) }

// ---- consuming ----

func prioritize(c *visitor, a *asked, out *answer) error {
	both, err := a.words(2)
	if err != nil {
		return err
	}
	values := make([]float64, a.Count)
	for i, bits := range both[a.Count:] {
		values[i] = math.Float64frombits(bits)
	}
	return done(out, c.store.Prioritize(integers(both[:a.Count]), values))
}

func priorities(c *visitor, a *asked, out *answer) error {
	offsets, err := a.integers()
	if err != nil {
		return err
	}
	found := make([]float64, len(offsets))
	if err := c.store.Priorities(offsets, found); err != nil {
		return err
	}
	return out.floats(found)
}

func lease(c *visitor, a *asked, out *answer) error {
	offsets, err := a.integers()
	if err != nil {
		return err
	}
	number, err := c.store.Lease(a.Task, offsets)
	if err != nil {
		return err
	}
	return out.value(map[string]int64{"batch": number})
}

func ack(c *visitor, a *asked, out *answer) error { return done(out, c.store.Ack(a.Number)) }

func pending(c *visitor, _ *asked, out *answer) error { return out.value(c.store.Pending()) }

// named is the verb of what is done to a tag.
func named(do func(*trajectory.Store, string) error) func(*visitor, *asked, *answer) error {
	return func(c *visitor, a *asked, out *answer) error { return done(out, do(c.store, a.Name)) }
}

func tags(c *visitor, _ *asked, out *answer) error { return out.value(c.store.Tags()) }
