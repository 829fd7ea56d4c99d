"""A small random model of the fence: one partition, two workers, three visitors, and everything that can go wrong.

Each run draws a log and a schedule of faults from its seed: commits that are delayed, doubled and reordered, replies
that are lost, crashes, workers that lost their partition without noticing, a store that falls back to any state since
its last fsync (claims too), acknowledgements that are lost, timers, and other rules half-way. Then the faults stop, one
worker goes on, and what the receiver got is compared with a sequential evaluation of the log.

`python tests/model/fence_model.py --runs 100000` tries the protocol and, so that the model is known to have teeth,
designs that look right and are not.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import Pool
from typing import Literal, NamedTuple

VISITORS, EVENTS, FAULTY_STEPS, CALM_STEPS = 3, 24, 150, 600
LAST = EVENTS - 1
FOREVER = 10**9


class Variant(NamedTuple):
    """One design. ``fence`` is what a commit compares before it is applied; all but the token compare an epoch too."""

    name: str
    sound: bool = False
    fence: Literal["token", "sequence", "offset", "epoch"] = "token"
    idle_check: bool = True
    #: Visitors are loaded together with the token, and refused when it is another.
    checked_load: bool = True
    durable_before_dispatch: bool = True
    #: A commit that was decided by older rules than the fence's is refused.
    revision_check: bool = True
    timers: bool = False
    rule_change: bool = False


OURS = (
    Variant("ours: events", sound=True),
    Variant("ours: events, timers", sound=True, timers=True),
    Variant("ours: events, timers, rule change", sound=True, timers=True, rule_change=True),
)
BROKEN = (
    Variant("no idle check", idle_check=False),
    Variant("visitors loaded without a look at the token", checked_load=False),
    Variant("compares offset and sequence, epoch; timers", fence="sequence", timers=True),
    Variant("compares offset, epoch; timers", fence="offset", timers=True),
    Variant("compares the epoch alone (a lease)", fence="epoch"),
    Variant("sends before it is durable; rule change", durable_before_dispatch=False, rule_change=True),
    Variant("rules may go back; rule change", revision_check=False, rule_change=True),
)

# --- what is decided: pure -------------------------------------------------------------------------------------------


class Event(NamedTuple):
    """One record. ``kind`` 1 starts a wait, 2 ends the visitor's waits."""

    offset: int
    visitor: int
    kind: int
    time: int


class Visitor(NamedTuple):
    """State of a visitor. ``digest`` depends on everything that ever changed it, and on the rules of that time."""

    events: int = 0
    digest: int = 0
    timers: tuple[tuple[int, int], ...] = ()  # due, offset of the event that started it


Id = tuple[int, str]
Body = tuple[int, int]
Owed = tuple[Id, Body]
Deliveries = dict[Id, Body]


def judge(visitor: Visitor, event: Event, revision: int, *, timers: bool) -> tuple[Visitor, list[Owed]]:
    """The visitor after ``event``, and what is owed."""
    count = visitor.events + 1
    digest = (visitor.digest * 31 + event.offset * 7 + revision * 1009) % 1_000_003
    waits = () if event.kind == 2 else visitor.timers
    if timers and event.kind == 1:
        waits = (*waits, (event.time + 2, event.offset))
    fires = count % 2 == 1 if revision == 1 else count % 3 != 0
    return Visitor(count, digest, waits), [((event.offset, "event"), (count, digest))] if fires else []


def expire(visitor: Visitor, timer: tuple[int, int], revision: int) -> tuple[Visitor, list[Owed]]:
    """The visitor after ``timer`` has fired, and what is owed."""
    count, digest = visitor.events, (visitor.digest * 37 + timer[1] * 11 + revision * 1009) % 1_000_003
    waits = tuple(wait for wait in visitor.timers if wait != timer)
    return Visitor(count, digest, waits), [((timer[1], "timer"), (count, digest))] if revision == 1 or count % 2 else []


def due_timer(visitors: dict[int, Visitor], before: int) -> tuple[tuple[int, int], int] | None:
    """The next timer that fires before stream time ``before``, and its visitor."""
    due = [(timer, name) for name, visitor in visitors.items() for timer in visitor.timers if timer[0] < before]
    return min(due, default=None)


def histories(log: list[Event], variant: Variant) -> Iterator[Deliveries]:
    """What is owed in every history that is allowed: one after the other, the rules changing once, or never."""

    def rest(visitors: dict[int, Visitor], owed: Deliveries, offset: int, revision: int) -> Iterator[Deliveries]:
        visitors, owed = dict(visitors), dict(owed)
        while True:
            if revision == 1 and variant.rule_change:
                yield from rest(visitors, owed, offset, 2)
            timer = due_timer(visitors, log[offset].time if offset < EVENTS else FOREVER)
            if timer:
                visitors[timer[1]], new = expire(visitors[timer[1]], timer[0], revision)
            elif offset < EVENTS:
                event = log[offset]
                visitors[event.visitor], new = judge(visitors[event.visitor], event, revision, timers=variant.timers)
                offset += 1
            else:
                break
            owed.update(new)
        yield owed

    yield from rest(dict.fromkeys(range(VISITORS), Visitor()), {}, 0, 1)


# --- the store -------------------------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """All that the store holds of the partition."""

    offset: int = -1
    token: int = 0
    sequence: int = 0
    epoch: int = 0
    revision: int = 1
    visitors: dict[int, Visitor] = dict.fromkeys(range(VISITORS), Visitor())
    owed: Deliveries = {}
    settled: frozenset[Id] = frozenset()


class Packet(NamedTuple):
    """One commit on its way; compared by identity of its token."""

    sender: int
    expected: tuple[int, ...]
    token: int
    offset: int
    sequence: int
    epoch: int
    revision: int
    visitors: dict[int, Visitor]
    owed: list[Owed]


def mark(variant: Variant, state: Stored | Packet) -> tuple[int, ...]:
    """What the design looks at to tell whether the fence is where a worker left it."""
    if variant.fence == "token":
        return (state.token,)
    if variant.fence == "sequence":
        return (state.offset, state.sequence, state.epoch)
    return (state.offset, state.epoch) if variant.fence == "offset" else (state.epoch,)


class Store:
    """Every state since the beginning; those up to ``durable`` are on disk."""

    def __init__(self) -> None:
        self.states = [Stored()]
        self.durable = 0

    @property
    def now(self) -> Stored:
        return self.states[-1]

    def fsync(self) -> None:
        self.durable = len(self.states) - 1

    def fall_back(self, dice: random.Random) -> None:
        del self.states[dice.randint(self.durable, len(self.states) - 1) + 1 :]

    def claim(self, token: int) -> Stored:
        self.states.append(self.now._replace(token=token, epoch=self.now.epoch + 1))
        return self.now

    def apply(self, packet: Packet, variant: Variant) -> str:
        """As apply.lua: its own token is a repetition, another than the expected one a mismatch."""
        now = self.now
        if variant.fence != "epoch" and packet.expected != mark(variant, packet) == mark(variant, now):
            return "ok"
        if mark(variant, now) != packet.expected:
            return "mismatch"
        if variant.revision_check and packet.revision < now.revision:
            return "rules-old"
        owed = {id_: body for id_, body in packet.owed if id_ not in now.settled and id_ not in now.owed}
        self.states.append(Stored(packet.offset, packet.token, packet.sequence, now.epoch, packet.revision,
                                  now.visitors | packet.visitors, now.owed | owed, now.settled))  # fmt: skip
        return "ok"

    def settle(self, id_: Id) -> None:
        owed = {other: body for other, body in self.now.owed.items() if other != id_}
        self.states.append(self.now._replace(owed=owed, settled=self.now.settled | {id_}))


# --- the workers and what happens to them ----------------------------------------------------------------------------


@dataclass
class Worker:
    """What a worker remembers; a crash forgets all of it."""

    assigned: bool = False
    claimed: bool = False
    #: The fence as this worker left it; the visitors in it are not used.
    at: Stored = field(default_factory=Stored)
    cache: dict[int, Visitor] = field(default_factory=dict)
    revision: int = 1
    pending: Packet | None = None

    def forget(self) -> None:
        self.claimed, self.cache, self.pending = False, {}, None


class World:
    """One run."""

    def __init__(self, variant: Variant, seed: int) -> None:
        self.variant = variant
        self.dice = dice = random.Random(seed)
        time, self.log = 0, []
        for offset in range(EVENTS):
            time += dice.choice((0, 0, 1, 1, 2))
            self.log.append(Event(offset, dice.randrange(VISITORS), dice.randrange(4), time))
        self.store = Store()
        self.workers = [Worker(assigned=True), Worker()]
        self.owner = 0
        self.network: list[Packet] = []
        self.in_flight: list[Owed] = []
        self.received: dict[Id, set[Body]] = {}
        self.tokens = 0
        self.published = 1

    def new_token(self) -> int:
        self.tokens += 1
        return self.tokens

    # The protocol.

    def work(self, number: int) -> None:
        """The next thing that a worker does, as `pipeline.Lane` does it."""
        worker = self.workers[number]
        if not worker.assigned:
            return
        if not worker.claimed:
            worker.forget()
            worker.at, worker.claimed = self.store.claim(self.new_token()), True
        elif worker.pending:
            self.network.append(worker.pending)
        elif self.load(number):
            visitors, owed, offset = self.decide(worker)
            if offset > worker.at.offset or visitors:
                self.send(number, visitors, owed, offset)

    def load(self, number: int) -> bool:
        """Fill the cache, and have a look at the fence when nothing else would; False when it is another's."""
        worker, variant = self.workers[number], self.variant
        missing = [name for name in range(VISITORS) if name not in worker.cache]
        idle = worker.at.offset == LAST and not any(visitor.timers for visitor in worker.cache.values())
        looks = (missing and variant.checked_load) or (idle and variant.idle_check)
        if looks and mark(variant, self.store.now) != mark(variant, worker.at):
            self.lose(number)
            return False
        loaded = bool(missing)
        for name in missing:
            worker.cache[name] = self.store.now.visitors[name]
        return not loaded or self.dice.random() < 0.5  # what is loaded is used at once, or after other things happened

    def decide(self, worker: Worker) -> tuple[dict[int, Visitor], list[Owed], int]:
        """A batch: some of the due timers at the same offset, or else some events up to where a timer is due."""
        visitors, changed, owed = dict(worker.cache), {}, []
        offset, size, fired = worker.at.offset, self.dice.randint(1, 4), 0
        for _ in range(size):
            timer = due_timer(visitors, self.log[offset + 1].time if offset < LAST else FOREVER)
            if timer and offset == worker.at.offset:
                name, fired = timer[1], fired + 1
                state, new = expire(visitors[name], timer[0], worker.revision)
            elif timer or fired or offset == LAST:
                break
            else:
                event = self.log[offset + 1]
                name, offset = event.visitor, offset + 1
                state, new = judge(visitors[name], event, worker.revision, timers=self.variant.timers)
            visitors[name] = changed[name] = state
            owed += new
        return changed, owed, offset

    def send(self, number: int, visitors: dict[int, Visitor], owed: list[Owed], offset: int) -> None:
        worker = self.workers[number]
        worker.pending = Packet(number, mark(self.variant, worker.at), self.new_token(), offset,
                                worker.at.sequence + 1, worker.at.epoch, worker.revision, visitors, owed)  # fmt: skip
        self.network.append(worker.pending)

    def lose(self, number: int) -> None:
        """The fence is another's, or fell back: claim again, unless the group meanwhile says that it is not ours."""
        self.workers[number].forget()
        if self.owner != number and self.dice.random() < 0.7:
            self.workers[number].assigned = False

    def deliver_packet(self, *, calm: bool = False) -> None:
        """Any packet reaches the store, perhaps not for the last time; its reply reaches the sender, perhaps."""
        if not self.network:
            return
        at = self.dice.randrange(len(self.network))
        packet = self.network[at]
        if calm or self.dice.random() < 0.7:
            del self.network[at]
        status = self.store.apply(packet, self.variant)
        if calm or self.dice.random() < 0.75:
            self.answer(packet, status)

    def answer(self, packet: Packet, status: str) -> None:
        worker = self.workers[packet.sender]
        if worker.pending is not packet:
            return
        worker.pending = None
        if status == "ok":
            worker.at = worker.at._replace(offset=packet.offset, token=packet.token, sequence=packet.sequence)
            worker.cache |= packet.visitors
        elif status == "rules-old":
            worker.revision = self.published
        else:
            self.lose(packet.sender)

    def lease(self) -> None:
        """Take deliveries that may be sent."""
        durable = self.store.states[self.store.durable].owed
        now = self.store.now.owed.items()
        free = [one for one in now if one[0] in durable or not self.variant.durable_before_dispatch]
        if free:
            self.in_flight.append(self.dice.choice(free))

    def dispatch(self, *, calm: bool = False) -> None:
        """A delivery reaches the receiver; its acknowledgement may be lost."""
        if not self.in_flight:
            return
        id_, body = self.in_flight.pop(self.dice.randrange(len(self.in_flight)))
        self.received.setdefault(id_, set()).add(body)
        if calm or self.dice.random() < 0.6:
            self.store.settle(id_)

    # The faults.

    def crash(self) -> None:
        self.workers[self.dice.randrange(2)].forget()

    def evict(self) -> None:
        self.workers[self.dice.randrange(2)].cache.pop(self.dice.randrange(VISITORS), None)

    def rebalance(self) -> None:
        """The partition moves; its former owner may not notice."""
        former, self.owner = self.owner, 1 - self.owner
        self.workers[self.owner].assigned = True
        if self.dice.random() < 0.5:
            self.workers[former].assigned = False
            self.workers[former].forget()

    def learn_rules(self) -> None:
        self.workers[self.dice.randrange(2)].revision = self.published

    def change_rules(self) -> None:
        if self.variant.rule_change:
            self.published = 2

    def run(self) -> str:
        """One run; "" or what was violated."""
        acts: tuple[tuple[Callable[[], None], int], ...] = (
            (lambda: self.work(0), 20), (lambda: self.work(1), 20), (self.deliver_packet, 30), (self.lease, 8),
            (self.dispatch, 8), (self.store.fsync, 4), (lambda: self.store.fall_back(self.dice), 3),
            (self.rebalance, 3), (self.crash, 2), (self.evict, 6), (self.learn_rules, 4), (self.change_rules, 1),
        )  # fmt: skip
        chosen = self.dice.choices([act for act, _ in acts], [weight for _, weight in acts], k=FAULTY_STEPS)
        for act in chosen:
            act()
        self.calm_down()
        return self.verdict()

    def calm_down(self) -> None:
        """No more faults: the owner goes on alone, with what it remembers."""
        self.workers[1 - self.owner].assigned = False
        self.workers[self.owner].assigned = True
        for step in range(CALM_STEPS):
            self.work(self.owner)
            self.deliver_packet(calm=True)
            self.store.fsync()
            self.lease()
            self.dispatch(calm=True)
            if step % 10 == 9 and not (self.network or self.in_flight or self.unfinished()):
                return

    def unfinished(self) -> bool:
        now = self.store.now
        return bool(now.offset < LAST or now.owed or any(visitor.timers for visitor in now.visitors.values()))

    def verdict(self) -> str:
        if self.unfinished():
            return "stuck"
        if any(len(bodies) > 1 for bodies in self.received.values()):
            return "two bodies"
        got = {id_: next(iter(bodies)) for id_, bodies in self.received.items()}
        allowed = list(histories(self.log, self.variant))
        if got in allowed:
            return ""
        if self.variant.rule_change:
            return "inconsistent"
        return "lost" if allowed[0].keys() - got.keys() else "not owed"


# --- many runs -------------------------------------------------------------------------------------------------------


def violations(variant: Variant, seeds: range) -> Counter[str]:
    """What was violated how often in the runs of these ``seeds``."""
    found = Counter(World(variant, seed).run() for seed in seeds)
    del found[""]
    return found


def _share(task: tuple[Variant, range]) -> Counter[str]:
    return violations(*task)


def main() -> int:
    """Print a table of all variants; 1 when ours is violated, or when a broken one is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000, help="runs of each variant")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    as_it_should = True
    print(f"{'variant':<50}{'runs':>9}{'violations':>12}")
    with Pool() as pool:
        for variant in (*OURS, *BROKEN):
            seeds = range(given.seed, given.seed + given.runs)
            shares = [(variant, seeds[at : at + 500]) for at in range(0, given.runs, 500)]
            found = sum(pool.imap_unordered(_share, shares), Counter())
            as_it_should &= variant.sound == (not found)
            kinds = ", ".join(f"{kind} {number}" for kind, number in found.most_common())
            print(f"{variant.name:<50}{given.runs:>9}{found.total():>12}  {kinds}", flush=True)
    return 0 if as_it_should else 1


if __name__ == "__main__":
    sys.exit(main())
