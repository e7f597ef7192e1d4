"""Every order in which a put, its acknowledgement and the event loop can meet.

Models of what is said beside the steps, as small as they can be with all that matters: each step
is one access to what threads share, and all orders of the steps are looked at. Where nothing goes
on any more, nobody may wait. The models are held against themselves: with any of the precautions
left out, an order is found in which somebody waits for ever.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Stuck(Exception):
    """Somebody waits for ever, is told what is not so, or two turn in a circle."""


def explore(start: Any, steps: Callable[[Any], Iterator[Any]], end: Callable[[Any], bool]) -> int:
    """Go every way from a state and return how many states there are.

    Raises
    ------
    Stuck
        At a state without a step that is no good end, or on a way back to a state.
    """
    on_the_way: dict[Any, list[Any]] = {start: [*steps(start)]}
    done = set()
    while on_the_way:
        state, ways = next(reversed(on_the_way.items()))
        if not ways:
            on_the_way.popitem()
            done.add(state)
            continue
        following = ways.pop()
        if following in done:
            continue
        if following in on_the_way:
            raise Stuck([*on_the_way, following])
        on_the_way[following] = [*steps(following)]
        if not on_the_way[following] and not end(following):
            raise Stuck([*on_the_way])
    return len(done)


# ---- acknowledgements ----

ROWS = 3  # one for each put
NOBODY = 0


@dataclass(frozen=True)
class Wait:
    """What an engine and an event loop share, and where each thread is.

    A thread is a tuple of what it has yet to do, the next first.
    """

    appended: int = 0
    # The log (wal/log.go): l.acked and l.err.
    acked: int = 0
    failed: bool = False
    refused: bool = False  # refuse() was called after that
    poisoned: bool = False  # the table failed; the log goes on
    # The waker (engine/waker/waker.go).
    armed: bool = False
    mark: int = 0
    told: int = 0
    # The event file: what was written, and whether PERSISTING_OVER was.
    fd: int = 0
    fd_written: bool = False
    fd_over: bool = False
    # Acknowledgements (_loop/acknowledgements.py).
    waker: bool = False
    waiting: tuple[int, ...] = ()
    heard: int = 0  # _told
    known: int = 0  # _acknowledged
    asked: bool = False
    over: bool = False
    elsewhere: bool = False  # the waker is not watched by the loop on which puts go on
    ended: bool = False  # a loop has, once, in the midst of something
    # The threads.
    loop: tuple[Any, ...] = ()
    helper: tuple[Any, ...] = ()  # that of a put which had to wait
    log: tuple[Any, ...] = ()
    puts: int = 0  # that were begun


PRECAUTIONS = (
    "look again after arm",  # Notify: advance() with the rows that are acknowledged now
    "look for a fault after arm",  # Notify: end() if the log failed
    "check the mark under the lock",  # Waker.call
    "notify for the next",  # hear
    "notify unless the append did",  # tell
    "ask before the append",  # ask, from which the append knows what to do
    "tell what is known at the end",  # Waker.End
    "keep what the waker told before",  # tell: rows <= self._acknowledged
    "let the log go on after a fault of the table",  # Notify, poisonWith
    "begin anew on another loop",  # _Waker.watch
    "silence the waker after it was set",  # begin_anew: or what it told is told twice
    "forget that the append asked",  # begin_anew
)

# Without these a wake-up is in vain, or a look at the engine makes up for them.
SPARED = ("tell what is known at the end",)


class Model:
    """The steps of all threads; `without` names a precaution that is not taken."""

    def __init__(
        self, *, threads: bool, failing: bool, ending: bool, without: str | None = None
    ) -> None:
        self.threads = threads
        self.failing = failing
        self.ending = ending
        self.without = without

    def has(self, precaution: str) -> bool:
        assert precaution in PRECAUTIONS
        return precaution != self.without

    def steps(self, s: Wait) -> Iterator[Wait]:
        if s.loop:
            yield from self.step(s, "loop", s.loop[0], s.loop[1:])
            # Ctrl-C in what the waker has called, and the loop goes on, or another: Writer._here.
            if self.ending and not s.ended and s.loop[0][0] in ("hear", "notify", "arm"):
                yield replace(s, ended=True, loop=(("set waker",), ("silence",)))
                yield replace(s, ended=True, elsewhere=True, loop=(("move",),))
        else:
            yield from self.turns(s)
        if s.helper:
            yield from self.step(s, "helper", s.helper[0], s.helper[1:])
        if s.log:
            yield from self.step(s, "log", s.log[0], s.log[1:])
        else:
            yield from self.writes(s)

    def turns(self, s: Wait) -> Iterator[Wait]:
        """What the event loop may begin."""
        if s.fd_written and not s.elsewhere:  # _wake
            yield replace(s, loop=(("wake",),))
        # Writer: one hand-over at a time, on the loop or on a thread.
        if s.puts < ROWS and not s.helper:
            n = s.puts + 1
            asking = replace(s, puts=n, loop=(("ask", n, False),))
            yield asking
            if self.threads:
                yield replace(asking, loop=(("ask", n, True),))

    def writes(self, s: Wait) -> Iterator[Wait]:
        """What the writer of the log may do: writeTaken."""
        if s.failed:
            if not s.refused:  # refuse: done(err) of each entry, which is Waker.End
                yield replace(s, refused=True, log=(("end",),))
            return
        for end in range(s.acked + 1, s.appended + 1):
            # acknowledge: acked.Store(end), then OnAdvance(end): Waker.Advance
            yield replace(s, acked=end, log=(("advance", end),))
        if self.failing and s.appended > s.acked:
            yield replace(s, failed=True)
        if self.failing and not s.poisoned:
            goes_on = self.has("let the log go on after a fault of the table")
            yield replace(s, poisoned=True, log=() if goes_on else (("end",),))

    def step(
        self, s: Wait, who: str, what: tuple[Any, ...], rest: tuple[Any, ...]
    ) -> Iterator[Wait]:
        def go(*more: tuple[Any, ...], **changes: Any) -> Wait:
            return replace(s, **{who: (*more, *rest), **changes})

        match what:
            # engine/waker/waker.go
            case ("arm", mark):
                least = min(mark, s.mark) if s.armed else mark
                yield go(mark=least, armed=True)
            case ("advance", count):
                yield go(("call", count, False)) if s.armed else go()
            case ("end",):  # Waker.End(b.acknowledgedRows())
                count = s.acked if self.has("tell what is known at the end") else 0
                yield go(("call", count, True)) if s.armed else go()
            case ("call", count, over):  # under the lock of the waker
                early = not over and count < s.mark and self.has("check the mark under the lock")
                if not s.armed or early:
                    yield go()
                else:
                    more = max(count - s.told, 0)
                    yield go(
                        armed=False,
                        told=s.told + more,
                        fd=s.fd + more,
                        fd_written=True,
                        fd_over=s.fd_over or over,
                    )
            # Bucket.Notify
            case ("notify", mark):
                looks = (("look",),) if self.has("look again after arm") else ()
                faults = (("fault",),) if self.has("look for a fault after arm") else ()
                yield go(("arm", mark), *looks, *faults)
            case ("look",):
                yield go(("advance", s.acked))
            case ("fault",):
                fault = s.failed
                if not self.has("let the log go on after a fault of the table"):
                    fault = fault or s.poisoned
                yield go(("end",)) if fault else go()
            # Writer._appending, Bucket.Append, capi put()
            case ("ask", n, on_thread):
                asked = s.waker and not s.waiting
                if not self.has("ask before the append"):
                    asked = s.waker
                append = ("append", n, asked)
                if on_thread:
                    yield go(asked=asked, helper=(append,))
                else:
                    yield go(append, asked=asked)
            case ("append", n, notify):
                if s.failed:
                    yield go()  # refused, and told so
                else:
                    yield go(("placed", n, notify), appended=n)
            case ("placed", n, notify):
                tell = ("tell", n, s.acked)
                if s.acked >= n:
                    yield go()
                elif notify:
                    yield go(("notify", n), tell)
                else:
                    yield go(tell)
            # Acknowledgements.tell, on the loop
            case ("tell", _, _) if who == "helper":
                if not s.loop:
                    yield replace(s, helper=(), loop=(what,))
            case ("tell", n, _):
                if n <= s.known and self.has("keep what the waker told before"):
                    yield go()
                    return
                waiting = (*s.waiting, n)
                needed = not s.asked or not self.has("notify unless the append did") or s.over
                if not self.has("notify unless the append did"):
                    needed = False
                if not s.waker:  # set_waker
                    needed = True
                first = len(waiting) == 1
                more = (("notify", n),) if first and needed else ()
                if s.elsewhere and self.has("begin anew on another loop"):
                    more = (("set waker",), ("silence",), ("tell waiting", n))
                yield go(*more, waiting=waiting, waker=True, elsewhere=False)
            case ("tell waiting", n):  # what tell does after _watch
                needed = not s.asked or s.over
                yield go(("notify", n)) if needed and s.waiting[:1] == (n,) else go()
            # Acknowledgements.move and begin_anew
            case ("move",) if s.waiting:
                anew = self.has("begin anew on another loop")
                yield go(*((("set waker",), ("silence",)) if anew else ()), elsewhere=False)
            case ("move",):
                yield go()
            case ("set waker",) if self.has("silence the waker after it was set"):
                yield go(armed=False, told=0)
            case ("set waker",):
                yield go(heard=0, fd=0, fd_written=False, fd_over=False)
            case ("silence",):
                asked = s.asked and not self.has("forget that the append asked")
                more = (("notify", s.waiting[0]),) if s.waiting else ()
                if self.has("silence the waker after it was set"):
                    changes = {"heard": 0, "fd": 0, "fd_written": False, "fd_over": False}
                else:
                    changes = {"armed": False, "told": 0}
                yield go(*more, asked=asked, **changes)
            # _wake and Acknowledgements.hear
            case ("wake",):
                yield go(("hear", s.fd, s.fd_over), fd=0, fd_written=False, fd_over=False)
            case ("hear", more, over):
                heard = s.heard + more
                known = max(s.known, heard)
                if known > s.acked:
                    raise Stuck("more is told than is acknowledged")
                waiting = tuple(n for n in s.waiting if n > known)
                following: tuple[Any, ...] = ()
                if waiting and over:
                    following = (("look up",),)
                elif waiting and self.has("notify for the next"):
                    following = (("notify", waiting[0]),)
                yield go(*following, heard=heard, known=known, waiting=waiting, over=over)
            case ("look up",):  # Bucket.acknowledged, then Bucket.wait
                known = max(s.known, s.acked)
                waiting = tuple(n for n in s.waiting if n > known)
                if waiting and s.failed:
                    waiting = ()  # all are told the cause
                more = (("notify", waiting[0]),) if waiting else ()
                yield go(*more, known=known, waiting=waiting)
            case _:
                raise AssertionError(what)

    def is_good_end(self, s: Wait) -> bool:
        return not s.waiting and not s.helper and s.puts == ROWS


@pytest.mark.parametrize("failing", [False, True], ids=["sound", "failing"])
@pytest.mark.parametrize("threads", [False, True], ids=["at once", "on threads"])
@pytest.mark.parametrize("ending", [False, True], ids=["one loop", "two loops"])
def test_no_put_waits_for_ever(threads: bool, failing: bool, ending: bool) -> None:
    model = Model(threads=threads, failing=failing, ending=ending)
    assert explore(Wait(), model.steps, model.is_good_end) > 500


@pytest.mark.parametrize("precaution", PRECAUTIONS)
def test_each_precaution_is_needed(precaution: str) -> None:
    model = Model(threads=True, failing=True, ending=True, without=precaution)
    if precaution in SPARED:
        assert explore(Wait(), model.steps, model.is_good_end) > 500
        return
    with pytest.raises(Stuck):
        explore(Wait(), model.steps, model.is_good_end)


# ---- puts.ring ----


@dataclass(frozen=True)
class Ring:
    """The words of the ring that wake, and where putter and engine are.

    A processor may keep a store back for a while in which it goes on with loads: `kept` is the
    head that only the putter sees yet.
    """

    head: int = 0
    kept: int | None = None
    taken: int = 0
    watched: bool = False
    rung: bool = False
    puts: int = 0
    putter: str = "idle"
    engine: str = "asleep"
    idle: int = 0


def ring_steps(looks: int, *, resets: bool) -> Callable[[Ring], Iterator[Ring]]:
    """Return the steps of queue/_ring.py and of ringLoop in engine/bucket/ring.go."""

    def steps(s: Ring) -> Iterator[Ring]:
        if s.kept is not None:
            yield replace(s, head=s.kept, kept=None)
        if s.putter == "idle" and s.puts < 2:  # words[_HEAD] = end
            number = s.puts + 1
            flushed = s.head if s.kept is None else s.kept
            yield replace(s, head=flushed, kept=number, puts=number, putter="look")
        if s.putter == "look":  # if not words[_WATCHED]
            yield replace(s, putter="idle" if s.watched else "drain")
        if s.putter == "drain":  # a call, before which all stores are done
            flushed = s.head if s.kept is None else s.kept
            yield replace(s, head=flushed, kept=None, rung=True, putter="idle")
        if s.engine == "asleep" and s.rung:  # <-b.rung
            yield replace(s, rung=False, engine="watch", idle=0)
        if s.engine == "watch":  # r.Watch(idle == 0)
            yield replace(s, watched=s.idle == 0, idle=s.idle + 1, engine="look")
        if s.engine == "look":  # r.Pending(), and taking over
            found = s.head != s.taken
            yield replace(s, idle=0 if found else s.idle, taken=s.head, engine="wait")
        if s.engine == "wait":
            ends = "watch" if s.idle < looks else "asleep"
            if s.rung:
                idle = 0 if resets else s.idle
                yield replace(
                    s, rung=False, idle=idle, engine="watch" if idle < looks else "asleep"
                )
            if s.kept is None:  # 20 ms have passed, for which no processor keeps a store
                yield replace(s, engine=ends)

    return steps


def is_drained(s: Ring) -> bool:
    return s.taken == s.puts == 2


def test_no_put_stays_in_the_ring() -> None:
    # While the engine looks again and again the putter may pause: that is no circle.
    assert explore_with_pauses(ring_steps(3, resets=True)) > 50


@pytest.mark.parametrize(("looks", "resets"), [(2, False), (2, True), (3, False)])
def test_fewer_looks_at_the_ring_are_too_few(looks: int, resets: bool) -> None:
    with pytest.raises(Stuck):
        explore_with_pauses(ring_steps(looks, resets=resets))


def explore_with_pauses(steps: Callable[[Ring], Iterator[Ring]]) -> int:
    """Go every way and look only at the states from which none leads on."""
    seen, left = {Ring()}, [Ring()]
    while left:
        state = left.pop()
        following = [*steps(state)]
        if not following and not is_drained(state):
            raise Stuck(dataclasses.asdict(state))
        left += {*following} - seen
        seen.update(following)
    return len(seen)
