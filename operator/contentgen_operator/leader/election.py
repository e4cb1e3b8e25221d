"""Algorithm of client-go's leader election on frozen values. Pure.

Times are seconds of the process's own clock, which continues while the process is paused. Times in the Lease are never
compared: a record is expired once this process has seen it unchanged for the lease duration.

A leader may send from `LeaderTerm.begins` to `LeaderTerm.ends` = start of its last successful write + renew deadline.
The server stores that write after its start, a follower reads it later still and then waits for the longer lease
duration: so two terms never overlap, as long as no clock runs faster than another by more than lease duration / renew
deadline (1.5).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

_LONGEST_LEASE_SECONDS = 300.0  # upper bound for the duration in another process's record
_RELEASED_SECONDS = 1  # same as client-go


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: lease duration, renew deadline of the leader, longest pause between two requests."""

    lease: float = 15.0
    renew: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease >= 1.2 * self.renew or not self.renew >= 2 * self.retry or not self.retry > 0:
            raise ValueError("lease duration ≥ 1.2 × renew deadline, and renew deadline ≥ 2 × retry period > 0")

    @property
    def request(self) -> float:
        """Timeout of one request, in seconds."""
        return self.renew / 2


@dataclass(frozen=True, slots=True)
class Record:
    """Election fields of a Lease. An empty `holder`: released, or never held if `renewed` is empty too."""

    holder: str = ""
    seconds: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """Lease object; `version` is its resourceVersion."""

    uid: str
    version: str
    record: Record


@dataclass(frozen=True, slots=True)
class LeaderTerm:
    """Period in which the process may act as the leader, in seconds of its clock."""

    begins: float
    ends: float

    def covers(self, now: float) -> bool:
        """True if the process leads at a time."""
        return self.begins <= now < self.ends


@dataclass(frozen=True, slots=True)
class Candidate:
    """Candidate of the election. `me` is unique per process start."""

    me: str
    timing: Timing = Timing()
    lease: Lease | None = None
    current: bool = False  # False: read the Lease before the next decision
    seen_at: float = 0.0  # time at which this record was first read
    term: LeaderTerm | None = None


@dataclass(frozen=True, slots=True)
class ReadLease:
    """Move: read the Lease."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Move: write the record over `lease`; None creates the Lease."""

    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Renew:
    """Move: write the record over this process's own `lease`."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Wait:
    """Another process leads; its record expires in `seconds` unless it is renewed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Move: stop. This process led and never leads again."""

    why: str


Move = ReadLease | Acquire | Renew | Wait | Lost


def next_move(candidate: Candidate, now: float) -> Move:
    """Next move at a time of the process's clock."""
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
    """Lease duration of the holder or of this process, whichever is longer: a rollout may change it."""
    return max(timing.lease, min(float(record.seconds), _LONGEST_LEASE_SECONDS))


def after_read(candidate: Candidate, lease: Lease | None, now: float) -> Candidate:
    """Candidate after a read of the Lease; `now` is the time of the response."""
    known = candidate.lease
    same = known is not None and lease is not None and (known.uid, known.record) == (lease.uid, lease.record)
    return replace(candidate, lease=lease, current=True, seen_at=candidate.seen_at if same else now)


def after_write(candidate: Candidate, lease: Lease, started: float, now: float) -> Candidate:
    """Candidate after its write of the Lease, with the times of the request (`started`) and of the response (`now`).

    A record without transitions was written where there was no Lease. The Lease of a leader may have been deleted, and
    that leader may send until its renew deadline: so the term begins after that.
    """
    begins = now if lease.record.transitions else now + candidate.timing.lease
    if candidate.term is not None:
        begins = candidate.term.begins
    term = LeaderTerm(begins, started + candidate.timing.renew)
    return replace(candidate, lease=lease, current=True, seen_at=now, term=term)


def stale(candidate: Candidate) -> Candidate:
    """Candidate that must read the Lease again: after a pause, or after a conflict."""
    return replace(candidate, current=False)


def lease_record(move: Acquire | Renew, candidate: Candidate, wall: datetime) -> Record:
    """Record to write. `renewed` always differs from the previous one, by which followers detect a renewal."""
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
    """Lease of this process and the record that releases it; None if there is nothing to release.

    A Lease whose term has not begun is left to expire: it may have been another process's before it was deleted.
    """
    lease, term = candidate.lease, candidate.term
    if lease is None or lease.record.holder != candidate.me or term is None or now < term.begins:
        return None
    time = _micro_time(wall)
    return lease, replace(lease.record, holder="", seconds=_RELEASED_SECONDS, acquired=time, renewed=time)


def record_of(spec: dict[str, Any]) -> Record:
    """Record of a Lease's `spec`."""
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        seconds=seconds if isinstance(seconds, int) else 0,
        acquired=str(spec.get("acquireTime") or ""),
        renewed=str(spec.get("renewTime") or ""),
        transitions=transitions if isinstance(transitions, int) else 0,
    )


def spec_of(record: Record) -> dict[str, Any]:
    """`spec` of a Lease for a record."""
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.seconds,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
        "leaseTransitions": record.transitions,
    }


def _micro_time(wall: datetime) -> str:
    return wall.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
