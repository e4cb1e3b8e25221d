"""The algorithm of client-go's leaderelection on frozen values. Pure.

Times are seconds of the process's own clock, which counts while the process is stopped. Times in the Lease are never
compared: a record is expired once this process has seen it unchanged for the lease duration.

A leader may send from `LeaderTerm.begins` to `LeaderTerm.ends` = start of its last successful write + renew deadline.
The server
stores that write later than its start, a follower sees it later still, and then waits for the longer lease duration:
two terms never overlap as long as no clock runs faster than another by more than lease duration / renew deadline (1.5).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

_LONGEST_LEASE_SECONDS = 300.0  # that a record of somebody else can keep a follower waiting
_RELEASED_SECONDS = 1  # as client-go writes it


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: of a Lease that is not renewed, until a leader gives up, and between two tries at most."""

    lease: float = 15.0
    renew: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease >= 1.2 * self.renew or not self.renew >= 2 * self.retry or not self.retry > 0:
            raise ValueError("lease duration ≥ 1.2 × renew deadline, and renew deadline ≥ 2 × retry period > 0")

    @property
    def request(self) -> float:
        """Timeout of one request."""
        return self.renew / 2


@dataclass(frozen=True, slots=True)
class Record:
    """The election's part of a Lease. `holder` empty: released, or (`renewed` empty, too) never held."""

    holder: str = ""
    seconds: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease object; `version` is its resourceVersion."""

    uid: str
    version: str
    record: Record


@dataclass(frozen=True, slots=True)
class LeaderTerm:
    """When the process may act as the leader."""

    begins: float
    ends: float

    def covers(self, now: float) -> bool:
        """Whether the process leads."""
        return self.begins <= now < self.ends


@dataclass(frozen=True, slots=True)
class Candidate:
    """One process. `me` is unique per process start."""

    me: str
    timing: Timing = Timing()
    lease: Lease | None = None
    current: bool = False  # whether `lease` is to be decided on; else it is read first
    seen_at: float = 0.0  # when this record was first seen
    term: LeaderTerm | None = None


@dataclass(frozen=True, slots=True)
class ReadLease:
    """Read the Lease."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Write the record; over `lease`, or (None) as a new object."""

    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Renew:
    """Write the record over this process's own `lease`."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Wait:
    """Another process leads; its record expires in `seconds` unless it is renewed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """This process led and does not any more. It never leads again."""

    why: str


Move = ReadLease | Acquire | Renew | Wait | Lost


def next_move(candidate: Candidate, now: float) -> Move:
    """The next step at a time of the process's clock."""
    lease, term = candidate.lease, candidate.term
    if term is not None and now >= term.ends:
        return Lost(f"the Lease was not renewed for {candidate.timing.renew:g} s")
    if not candidate.current:
        return ReadLease()
    if lease is not None and lease.record.holder == candidate.me:
        return Renew(lease)
    if term is not None:
        return Lost(f"the Lease is held by {lease.record.holder or 'nobody'}" if lease else "the Lease was deleted")
    if lease is None or not lease.record.holder:
        return Acquire(lease)
    left = candidate.seen_at + _duration(lease.record, candidate.timing) - now
    return Wait(left) if left > 0 else Acquire(lease)


def _duration(record: Record, timing: Timing) -> float:
    """The holder's lease duration, or the own one where that is longer: a rollout may change it."""
    return max(timing.lease, min(float(record.seconds), _LONGEST_LEASE_SECONDS))


def after_look(candidate: Candidate, lease: Lease | None, now: float) -> Candidate:
    """The Lease as it was read; `now` is the time of the reply."""
    known = candidate.lease
    same = known is not None and lease is not None and (known.uid, known.record) == (lease.uid, lease.record)
    return replace(candidate, lease=lease, current=True, seen_at=candidate.seen_at if same else now)


def after_write(candidate: Candidate, lease: Lease, started: float, now: float) -> Candidate:
    """The Lease as this process wrote it, with a request that was started at `started` and answered at `now`.

    A first record (no transitions) is written where there was no Lease. Somebody may have deleted it under a leader,
    who may send until its renew deadline: the term begins when that is over.
    """
    begins = now if lease.record.transitions else now + candidate.timing.lease
    if candidate.term is not None:
        begins = candidate.term.begins
    term = LeaderTerm(begins, started + candidate.timing.renew)
    return replace(candidate, lease=lease, current=True, seen_at=now, term=term)


def stale(candidate: Candidate) -> Candidate:
    """The Lease is to be read again: time has passed, or a write of it conflicted."""
    return replace(candidate, current=False)


def claim(move: Acquire | Renew, candidate: Candidate, wall: datetime) -> Record:
    """The record to write. `renewed` differs from the last one in any case: followers tell a renewal by that."""
    before = move.lease.record if move.lease is not None else Record()
    renewed = _micro_time(wall)
    if renewed == before.renewed:
        renewed = _micro_time(wall + timedelta(microseconds=1))
    mine = isinstance(move, Renew)
    return Record(
        holder=candidate.me,
        seconds=int(-(-candidate.timing.lease // 1)),
        acquired=before.acquired if mine else renewed,
        renewed=renewed,
        transitions=before.transitions + int(not mine and bool(before.renewed)),
    )


def released(candidate: Candidate, now: float, wall: datetime) -> tuple[Lease, Record] | None:
    """The Lease of this process and the record that gives it up; None where there is nothing to give up.

    A Lease whose term has not begun is left to expire: it may have been another's before it was deleted.
    """
    lease, term = candidate.lease, candidate.term
    if lease is None or lease.record.holder != candidate.me or term is None or now < term.begins:
        return None
    time = _micro_time(wall)
    return lease, replace(lease.record, holder="", seconds=_RELEASED_SECONDS, acquired=time, renewed=time)


def record_of(spec: dict[str, Any]) -> Record:
    """The record in a Lease's `spec`."""
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        seconds=seconds if isinstance(seconds, int) else 0,
        acquired=str(spec.get("acquireTime") or ""),
        renewed=str(spec.get("renewTime") or ""),
        transitions=transitions if isinstance(transitions, int) else 0,
    )


def spec_of(record: Record) -> dict[str, Any]:
    """The `spec` of a Lease with this record."""
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.seconds,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
        "leaseTransitions": record.transitions,
    }


def _micro_time(wall: datetime) -> str:
    return wall.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
