"""MongoDB filters of jobs by their state, derived from the function that computes it. Pure.

Records hold no state: it follows from `status`, `phase`, `reason` and `runVersion`, so that records of earlier releases
and backups are found too; and from a deletion of the resource, which the gateway watches. `status` narrows each
alternative, and has an index.
"""

from collections.abc import Mapping, Set
from enum import StrEnum
from functools import cache
from itertools import groupby
from typing import Any

from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.job_state import JobState, State, job_state
from contentgen_contract.names import FINAL_PHASES, Kind, Phase, Reason
from contentgen_contract.records.record import legacy_status

Filter = dict[str, Any]


class StateFilter(StrEnum):
    """State of the jobs in a list; `waiting` and `running` include the more specific ones."""

    NEEDS_ME = "needs-me"  # waits for a person, who may be the caller
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    QUEUED = "queued"
    WAITING_FOR_APPROVAL = "waiting-for-approval"
    PAUSED = "paused"
    WAITING_FOR_LORA = "waiting-for-lora"
    NEEDS_PERSON = "needs-person"
    RUNNING_AGAIN = "running-again"
    ESTIMATED = "estimated"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DELETING = "deleting"


_ENDED: dict[StateFilter, Filter] = {
    StateFilter.COMPLETED: {"status": "completed"},
    StateFilter.FAILED: {"status": "failed"},
    StateFilter.ESTIMATED: {"status": "cancelled", "reason": Reason.ESTIMATED.value},
    StateFilter.CANCELLED: {"status": "cancelled", "reason": {"$ne": Reason.ESTIMATED.value}},
}
_GROUPS = {
    StateFilter.WAITING: (State.WAITING, State.QUEUED, State.WAITING_FOR_LORA),
    StateFilter.RUNNING: (State.RUNNING, State.RUNNING_AGAIN),
}
_UNFINISHED = (None, *(each_phase for each_phase in Phase if each_phase not in FINAL_PHASES))


def state_filter(
    wanted: StateFilter, approvable: Mapping[str, frozenset[Kind]] | None = None, deleting: Set[str] = frozenset()
) -> Filter:
    """Filter of the records in a state.

    `approvable`: kinds by namespace of the runs that the caller may approve, for `NEEDS_ME`; None: any. `deleting`: ids
    of jobs whose resource is being deleted, which have no other state.
    """
    if wanted is StateFilter.DELETING:
        return {"jobId": {"$in": sorted(deleting)}}
    found = _of_records(wanted, approvable)
    return found | {"jobId": {"$nin": sorted(deleting)}} if deleting else found


def _of_records(wanted: StateFilter, approvable: Mapping[str, frozenset[Kind]] | None) -> Filter:
    if wanted in _ENDED:
        return _ENDED[wanted]
    if wanted is StateFilter.NEEDS_ME:
        return {"$or": [*_unfinished(wanted), *_approvals(approvable)]}
    found = {"$or": list(_unfinished(wanted))}
    return found | {"runVersion": {"$gt": 1}} if wanted is StateFilter.RUNNING_AGAIN else found


def _approvals(approvable: Mapping[str, frozenset[Kind]] | None) -> list[Filter]:
    """Runs that wait for an approval of the caller."""
    waiting = _unfinished(StateFilter.WAITING_FOR_APPROVAL)
    if approvable is None:
        return list(waiting)
    places: list[Filter] = [
        {"type": {"$in": sorted(kind.record_type for kind in kinds)}} | ({"namespace": name} if name else {})
        for name, kinds in sorted(approvable.items())
    ]
    return [condition | place for condition in waiting for place in places]


def _matches(wanted: StateFilter, found: JobState) -> bool:
    """True if a job in a state belongs to the list; approvals are added to `NEEDS_ME` by the caller's rights."""
    if wanted is StateFilter.NEEDS_ME:
        return found.needs_person and found.state is not State.WAITING_FOR_APPROVAL
    if wanted is StateFilter.RUNNING_AGAIN:  # and by the version
        return found.state is State.RUNNING
    return found.state in _GROUPS.get(wanted, (State(wanted.value),))


@cache
def _unfinished(wanted: StateFilter) -> tuple[Filter, ...]:
    """Alternatives for unfinished jobs; phases with the same reasons share one."""
    rows = [(legacy_status(phase), _reasons(wanted, phase), phase) for phase in _UNFINISHED]
    rows = sorted((each_row for each_row in rows if each_row[1] is not None), key=lambda row: (row[0], str(row[1])))
    found: list[Filter] = []
    for (status, _), group in groupby(rows, key=lambda row: (row[0], str(row[1]))):
        same = list(group)
        phases = [phase.value if phase is not None else None for _, _, phase in same]
        found.append({"status": status, "phase": {"$in": phases}} | (same[0][1] or {}))
    if (reasons := _reasons(wanted, Phase.PROCESSING)) is not None:  # a phase of another release counts like it
        known = {"$nin": [each_phase.value for each_phase in Phase]}
        found.append({"status": legacy_status(Phase.PROCESSING), "phase": known} | reasons)
    return tuple(found)


def _reasons(wanted: StateFilter, phase: Phase | None) -> Filter | None:
    """Filter of the reasons that belong to a list, of jobs in a phase; None: no job in the phase does."""
    given = {reason: _matches(wanted, job_state(JobFacts(phase=phase, reason=reason))) for reason in (None, *Reason)}
    others = sorted(reason.value for reason, matches in given.items() if reason is not None and matches != given[None])
    if given[None]:  # as reasons of another release do
        return {"reason": {"$nin": others}} if others else {}
    return {"reason": {"$in": others}} if others else None
