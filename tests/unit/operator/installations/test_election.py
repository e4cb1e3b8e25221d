"""Leader election: the algorithm on values, and several electors against one Lease in simulated time."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from contentgen_operator.leader import election
from contentgen_operator.leader.election import (
    Acquire,
    Candidate,
    LeaderTerm,
    Lease,
    Lost,
    ReadLease,
    Record,
    Renew,
    Timing,
    Wait,
    next_move,
)
from contentgen_operator.leader.elector import ElectionEnvironment, Elector
from contentgen_operator.leader.leadership import Leadership, NotLeading, boot_clock
from contentgen_runtime.kube import Conflict


def dice(seed: int) -> Random:
    """Deterministic random numbers."""
    return Random(seed)  # noqa: S311 - a simulation


WALL = datetime(2026, 11, 23, tzinfo=UTC)
TIMING = Timing()
ME = Candidate(me="me")
OTHERS = Lease("u", "7", Record("other", 15, "t0", "t1", 3))
MINE = Lease("u", "8", Record("me", 15, "t0", "t1", 3))


# The algorithm


def test_the_lease_is_read_first() -> None:
    assert next_move(ME, 0) == ReadLease()


def test_unchanged_lease_is_taken_after_its_duration() -> None:
    seen = election.after_read(ME, OTHERS, 100.0)
    assert next_move(seen, 114.9) == Wait(pytest.approx(0.1))
    assert next_move(seen, 115.0) == Acquire(OTHERS)


def test_the_time_begins_anew_with_each_renewal() -> None:
    renewed = replace(OTHERS, version="9", record=replace(OTHERS.record, renewed="t2"))
    seen = election.after_read(election.after_read(ME, OTHERS, 100.0), renewed, 110.0)
    assert next_move(seen, 124.9) == Wait(pytest.approx(0.1))


def test_a_change_that_is_no_renewal_is_none() -> None:
    labelled = replace(OTHERS, version="9")
    assert election.after_read(election.after_read(ME, OTHERS, 100.0), labelled, 110.0).seen_at == 100.0


def test_a_lease_that_was_made_anew_is_seen_anew() -> None:
    another = replace(OTHERS, uid="v")
    assert election.after_read(election.after_read(ME, OTHERS, 100.0), another, 110.0).seen_at == 110.0


@pytest.mark.parametrize(("seconds", "waits"), [(1, 15), (40, 40), (10**9, 300), (-5, 15)])
def test_the_longer_duration_counts_within_bounds(seconds: int, waits: float) -> None:
    lease = replace(OTHERS, record=replace(OTHERS.record, seconds=seconds))
    assert next_move(election.after_read(ME, lease, 0.0), 0.0) == Wait(waits)


def test_released_lease_is_taken_at_once() -> None:
    free = replace(OTHERS, record=Record("", 1, "t1", "t1", 3))
    seen = election.after_read(ME, free, 0.0)
    move = next_move(seen, 0.0)
    assert move == Acquire(free)
    record = election.lease_record(move, seen, WALL)
    assert (record.holder, record.seconds, record.transitions) == ("me", 15, 4)
    held = election.after_write(seen, replace(free, record=record), 0.0, 0.5)
    assert held.term == LeaderTerm(0.5, 10.0)


@pytest.mark.parametrize("lease", [None, Lease("u", "1", Record())])
def test_the_term_of_a_first_record_begins_after_the_duration(lease: Lease | None) -> None:
    """The Lease of a leader may have been deleted."""
    seen = election.after_read(ME, lease, 0.0)
    move = next_move(seen, 0.0)
    assert move == Acquire(lease)
    record = election.lease_record(move, seen, WALL)
    assert record.transitions == 0
    held = election.after_write(seen, Lease("u", "2", record), 0.0, 0.5)
    assert held.term == LeaderTerm(15.5, 10.0)
    again = election.after_write(held, Lease("u", "3", replace(record, renewed="t")), 9.0, 9.5)
    assert again.term == LeaderTerm(15.5, 19.0)


def test_leader_renews_without_reading_from_the_requests_start() -> None:
    held = election.after_write(ME, MINE, 100.0, 103.0)
    move = next_move(held, 105.0)
    assert move == Renew(MINE)
    record = election.lease_record(move, held, WALL)
    assert (record.acquired, record.transitions) == ("t0", 3)
    assert held.term == LeaderTerm(103.0, 110.0)


def test_renewals_differ_when_the_clock_stands_still() -> None:
    held = election.after_write(ME, MINE, 0.0, 0.0)
    first = election.lease_record(Renew(MINE), held, WALL)
    assert election.lease_record(Renew(replace(MINE, record=first)), held, WALL).renewed != first.renewed


def test_leader_without_a_timely_renewal_has_lost() -> None:
    held = election.after_write(ME, MINE, 100.0, 100.0)
    assert next_move(held, 109.9) == Renew(MINE)
    assert isinstance(next_move(held, 110.0), Lost)
    assert isinstance(next_move(election.stale(held), 110.0), Lost)


@pytest.mark.parametrize("lease", [None, OTHERS, replace(MINE, record=Record("", 1, "t", "t", 3))])
def test_a_leader_whose_lease_is_anothers_or_gone_has_lost(lease: Lease | None) -> None:
    """The former leader does not create the Lease again, because another process may lead already."""
    held = election.after_write(ME, MINE, 100.0, 100.0)
    assert isinstance(next_move(election.after_read(held, lease, 101.0), 101.0), Lost)


def test_a_write_whose_reply_was_lost_is_found_and_renewed() -> None:
    seen = election.after_read(ME, MINE, 100.0)
    assert next_move(seen, 100.0) == Renew(MINE)


def test_the_release_keeps_the_transitions() -> None:
    held = election.after_write(ME, MINE, 100.0, 100.0)
    given = election.released(held, 101.0, WALL)
    assert given is not None
    assert (given[0], given[1].holder, given[1].seconds, given[1].transitions) == (MINE, "", 1, 3)


def test_lease_of_another_holder_is_not_released() -> None:
    first = replace(MINE, record=replace(MINE.record, transitions=0))
    assert election.released(ME, 0.0, WALL) is None
    assert election.released(election.after_write(ME, first, 0.0, 0.0), 1.0, WALL) is None


def test_a_record_is_read_whatever_somebody_has_written() -> None:
    assert election.record_of({}) == Record()
    assert election.record_of({"holderIdentity": None, "leaseDurationSeconds": "x"}) == Record()
    assert election.record_of(election.spec_of(MINE.record)) == MINE.record


@pytest.mark.parametrize("bad", [(10, 10, 2), (15, 3, 2), (15, 10, 0)])
def test_times_that_are_not_safe_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="lease duration"):
        Timing(*bad)


# Leadership


class Clock:
    """Clock in seconds, set by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_leader_may_send_until_the_deadline() -> None:
    clock = Clock()
    leadership = Leadership(clock)
    with pytest.raises(NotLeading):
        leadership.require()
    leadership.grant(LeaderTerm(105.0, 110.0))
    assert (leadership.is_leader, leadership.granted) == (False, True)
    clock.now = 105.0
    leadership.require(5.0)
    assert (leadership.is_leader, leadership.deadline) == (True, 110.0)
    with pytest.raises(NotLeading, match=r"valid for 5\.0 s"):
        leadership.require(5.1)
    clock.now = 110.0
    with pytest.raises(NotLeading):
        leadership.require()


def test_lost_term_stays_lost() -> None:
    leadership = Leadership(lambda: 1.0)
    leadership.revoke("deleted")
    leadership.grant(LeaderTerm(0.0, 10.0))
    leadership.revoke("later")
    assert (leadership.is_leader, leadership.over) == (False, "deleted")
    with pytest.raises(NotLeading, match="deleted"):
        leadership.require()


def test_without_an_election_everybody_leads() -> None:
    Leadership.always().require(1e9)


def test_the_clock_goes_on_while_the_process_is_stopped() -> None:
    assert boot_clock() <= boot_clock()


# Simulation: time passes only where everything waits


class _NoWaiting(selectors.DefaultSelector):
    """Selector that advances the loop's time instead of waiting."""

    loop: "SimulatedTime"

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return no ready files."""
        if timeout is None:
            raise RuntimeError("everything waits for ever")
        self.loop.now += max(timeout, 0.0)
        return []


class SimulatedTime(asyncio.SelectorEventLoop):
    """Event loop with simulated time."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _NoWaiting()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """True time of the simulation."""
        return self.now


def simulate(scene: Coroutine[Any, Any, None]) -> None:
    loop = SimulatedTime()
    try:
        loop.run_until_complete(scene)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class ApiServer:
    """API server with one Lease. `down`: it does not respond."""

    def __init__(self, chance: Random) -> None:
        self.lease: Lease | None = None
        self.down = False
        self.lost_share = 0.0
        self.shortest_delay, self.longest_delay = 0.001, 0.05
        self.writes: list[tuple[float, Record]] = []
        self._chance = chance
        self._versions = 0

    async def _travel(self) -> None:
        await asyncio.sleep(self._chance.uniform(self.shortest_delay, self.longest_delay))
        if self.down or self._chance.random() < self.lost_share:
            raise TimeoutError("no answer")

    async def read(self) -> Lease | None:
        await self._travel()
        lease = self.lease
        await self._travel()
        return lease

    async def write(self, lease: Lease | None, record: Record) -> Lease:
        await self._travel()
        if (lease is None) != (self.lease is None) or (lease and self.lease and lease.version != self.lease.version):
            await self._travel()
            raise Conflict("changed")
        self._versions += 1
        uid = self.lease.uid if self.lease else f"uid-{self._versions}"
        written = self.lease = Lease(uid, str(self._versions), record)
        self.writes.append((asyncio.get_running_loop().time(), record))
        await self._travel()
        return written


@dataclass
class Leading:
    """Period in which a process could send, in true time."""

    who: str
    begins: float
    ends: float


class Watched(Leadership):
    """Leadership whose terms are recorded in true time."""

    def __init__(self, process: "Process") -> None:
        super().__init__(process.clock)
        self.process = process
        self.terms: list[Leading] = []

    def grant(self, term: LeaderTerm) -> None:
        super().grant(term)
        now = asyncio.get_running_loop().time()
        begins, ends = max(self.process.true(term.begins), now), self.process.true(term.ends)
        if begins < ends and not self.over:
            self.terms.append(Leading(self.process.name, begins, ends))

    def revoke(self, why: str) -> None:
        if not self.over:
            now = asyncio.get_running_loop().time()
            self.terms = [replace(term, ends=min(term.ends, now)) for term in self.terms if term.begins < now]
        super().revoke(why)


@dataclass
class Process:
    """Candidate whose clock has an offset and a rate; it can be stopped and continued, or disconnected."""

    name: str
    api: ApiServer
    offset: float = 0.0
    rate: float = 1.0
    timing: Timing = TIMING
    seed: int = 0
    cut: bool = False
    _runs: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._runs.set()
        self.leadership = Watched(self)
        around = ElectionEnvironment(
            clock=self.clock,
            wall=lambda: WALL + timedelta(seconds=self.clock() * 0.5),
            sleep=self._sleep,
            chance=dice(self.seed).random,
        )
        self.elector = Elector(self, self.leadership, self.name, self.timing, around=around)
        self.task = asyncio.create_task(self.elector.run())

    def clock(self) -> float:
        return self.offset + self.rate * asyncio.get_running_loop().time()

    def true(self, at: float) -> float:
        return (at - self.offset) / self.rate

    @property
    def leads(self) -> bool:
        return self._runs.is_set() and not self.task.done() and self.leadership.is_leader

    def stop(self) -> None:
        """SIGSTOP."""
        self._runs.clear()

    def go_on(self) -> None:
        """SIGCONT."""
        self._runs.set()

    async def kill(self) -> None:
        """SIGKILL."""
        self.task.cancel()
        await asyncio.wait({self.task})
        self.leadership.revoke("killed")

    async def end(self) -> None:
        """SIGTERM."""
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.elector.release()

    async def read(self) -> Lease | None:
        return await self._asked(self.api.read)

    async def write(self, lease: Lease | None, record: Record) -> Lease:
        return await self._asked(lambda: self.api.write(lease, record))

    async def _asked(self, call: Callable[[], Awaitable[Any]]) -> Any:
        await self._runs.wait()
        if self.cut:
            raise TimeoutError("no network")
        # A sent request arrives, even if the sender ends.
        task = asyncio.ensure_future(call())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        answer = await asyncio.shield(task)
        await self._runs.wait()
        if self.cut:
            raise TimeoutError("no network")
        return answer

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.rate)
        await self._runs.wait()


def overlaps(processes: list[Process]) -> list[tuple[Leading, Leading]]:
    """Pairs of terms of different processes at the same time."""
    terms = sorted((term for process in processes for term in process.leadership.terms), key=lambda each: each.begins)
    pairs = [(one, two) for i, one in enumerate(terms) for two in terms[i + 1 :] if one.who != two.who]
    return [(one, two) for one, two in pairs if two.begins < one.ends]


async def leader_of(processes: list[Process], within: float) -> Process:
    """Wait for the process that leads."""
    try:
        async with asyncio.timeout(within):
            while not (found := [process for process in processes if process.leads]):  # noqa: ASYNC110 - simulated time
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"nobody leads after {within} s") from None
    return found[0]


async def ended(processes: list[Process]) -> None:
    for process in processes:
        process.go_on()
        process.task.cancel()
    await asyncio.wait({process.task for process in processes})


def two(api: ApiServer) -> list[Process]:
    return [Process("a", api, offset=5.0, seed=1), Process("b", api, offset=9000.0, seed=2)]


TAKEOVER_SECONDS = TIMING.lease + TIMING.retry + 0.5  # for the requests


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("how", ["kill", "stop", "cut"])
def test_another_process_leads_within_the_duration_and_a_retry(how: str, seed: int) -> None:
    async def scene() -> None:
        api = ApiServer(dice(seed))
        processes = two(api)
        first = await leader_of(processes, 20)
        await asyncio.sleep(30 + seed / 3)
        if how == "kill":
            await first.kill()
        elif how == "stop":
            first.stop()
        else:
            first.cut = True
        others = [process for process in processes if process is not first]
        second = await leader_of(others, TAKEOVER_SECONDS)
        first.go_on()
        await asyncio.sleep(20)
        assert second.leads, "one that comes back changes nothing"
        assert not first.leads
        assert first.task.done(), "it has noticed that it lost"
        assert overlaps(processes) == []
        await ended(processes)

    simulate(scene())


def test_a_released_lease_is_taken_with_the_next_look() -> None:
    async def scene() -> None:
        processes = two(ApiServer(dice(1)))
        first = await leader_of(processes, 20)
        await first.end()
        await leader_of([process for process in processes if process is not first], TIMING.retry + 0.5)
        assert overlaps(processes) == []
        await ended(processes)

    simulate(scene())


def test_the_next_process_leads_at_once_after_a_rollout() -> None:
    async def scene() -> None:
        api = ApiServer(dice(1))
        old = Process("old", api)
        await leader_of([old], 20)
        await old.end()
        new = Process("new", api)
        await leader_of([new], 0.5)
        assert api.lease is not None
        assert api.lease.record.transitions == 1
        assert overlaps([old, new]) == []
        await ended([old, new])

    simulate(scene())


def test_a_release_while_a_renewal_is_under_way_is_a_release() -> None:
    async def scene() -> None:
        api = ApiServer(dice(1))
        old = Process("old", api)
        await leader_of([old], 20)
        renewals = len(api.writes)
        api.longest_delay = 0.2
        while len(api.writes) == renewals:  # noqa: ASYNC110 - simulated time
            await asyncio.sleep(0.001)
        await old.end()
        assert api.lease is not None
        assert api.lease.record.holder == ""
        await ended([old])

    simulate(scene())


def test_deleted_lease_starts_no_term_during_the_old_one() -> None:
    async def scene() -> None:
        api = ApiServer(dice(1))
        processes = two(api)
        first = await leader_of(processes, 20)
        first.cut = True  # so that it gets no response
        api.lease = None
        second = next(process for process in processes if process is not first)
        await leader_of([second], 2 * TIMING.lease)
        assert overlaps(processes) == []
        await ended(processes)

    simulate(scene())


def test_the_standby_leads_as_soon_as_the_api_server_is_back() -> None:
    async def scene() -> None:
        api = ApiServer(dice(1))
        processes = two(api)
        first = await leader_of(processes, 20)
        await asyncio.sleep(5)
        api.down = True
        await asyncio.sleep(60)
        assert not any(process.leads for process in processes)
        api.down = False
        second = await leader_of(processes, TIMING.retry + 0.5)
        assert second is not first
        assert overlaps(processes) == []
        await ended(processes)

    simulate(scene())


def test_a_short_outage_changes_no_leader() -> None:
    async def scene() -> None:
        api = ApiServer(dice(1))
        processes = two(api)
        first = await leader_of(processes, 20)
        for _ in range(10):
            api.down = True
            await asyncio.sleep(TIMING.renew - TIMING.retry - TIMING.retry)
            api.down = False
            await asyncio.sleep(2 * TIMING.retry)
            assert first.leads
        assert overlaps(processes) == []
        await ended(processes)

    simulate(scene())


def test_the_deadline_counts_from_the_start_of_a_slow_renewal() -> None:
    async def scene() -> None:
        api = ApiServer(dice(1))
        (process,) = processes = [Process("a", api, offset=7.0)]
        await leader_of(processes, 20)
        api.shortest_delay = api.longest_delay = 2.0  # each way
        await asyncio.sleep(20)
        ends = process.leadership.terms[-1].ends
        starts = [stored - 2.0 for stored, _ in api.writes]
        assert any(ends == pytest.approx(start + TIMING.renew) for start in starts)
        await ended(processes)

    simulate(scene())


def test_a_request_that_hangs_does_not_hide_the_deadline() -> None:
    async def scene() -> None:
        api = ApiServer(dice(1))
        processes = two(api)
        first = await leader_of(processes, 20)
        await asyncio.sleep(3)
        api.longest_delay = 10_000.0
        await asyncio.sleep(TIMING.renew + 0.1)
        assert first.task.done()
        await ended(processes)

    simulate(scene())


@pytest.mark.parametrize("seed", range(40))
def test_two_processes_never_lead_at_once(seed: int) -> None:
    """Clocks 40 % apart, lost requests and responses, slow ones, outages, deletions, processes that stop and end."""

    async def scene() -> None:
        chance = dice(seed)
        api = ApiServer(chance)
        processes = list[Process]()

        def start() -> None:
            number = len(processes)
            rate, offset = chance.choice([0.85, 1.0, 1.19]), chance.uniform(0, 1e6)
            processes.append(Process(f"p{number}", api, offset, rate, seed=seed * 1000 + number))

        for _ in range(3):
            start()
        for _ in range(60):
            await asyncio.sleep(chance.expovariate(0.2))
            await _disturb(chance, api, [process for process in processes if not process.task.done()])
            while sum(not process.task.done() for process in processes) < 3:
                start()
        assert overlaps(processes) == []
        api.down, api.lost_share, api.longest_delay = False, 0.0, 0.05
        for process in processes:
            process.cut = False
            process.go_on()
        await leader_of(processes, 2 * TIMING.lease / 0.85 + TIMING.retry)
        await asyncio.sleep(30)
        assert overlaps(processes) == []
        await ended(processes)

    simulate(scene())


async def _disturb(chance: Random, api: ApiServer, processes: list[Process]) -> None:
    one = chance.choice(processes)
    match chance.randrange(8):
        case 0:
            one.stop()
            asyncio.get_running_loop().call_later(chance.uniform(1, 60), one.go_on)
        case 1:
            await one.kill()
        case 2:
            one.go_on()
            await one.end()
        case 3:
            api.down = not api.down
        case 4:
            api.lost_share = chance.choice([0.0, 0.1, 0.5])
        case 5:
            api.longest_delay = chance.choice([0.05, 2.0, 8.0])
        case 6:
            one.cut = not one.cut
        case _:
            api.lease = chance.choice([None, api.lease, api.lease])


def test_the_simulation_finds_terms_that_overlap() -> None:
    """With clocks further apart than the durations allow, two processes lead."""

    async def scene() -> None:
        api = ApiServer(dice(1))
        processes = [Process("slow", api, rate=0.3)]
        first = await leader_of(processes, 60)
        processes.append(Process("fast", api, rate=1.0))
        await asyncio.sleep(5)
        first.stop()
        await leader_of(processes[1:], 30)
        assert overlaps(processes)
        await ended(processes)

    simulate(scene())
