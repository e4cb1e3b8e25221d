"""MongoDB filters by state match the records whose state it is, and no others."""

import itertools
from typing import Any

import mongomock
import pytest

from contentgen_contract.advice.job_state import State, state_of_record
from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.records.record import legacy_status
from contentgen_gateway.stores.state_filters import StateFilter, state_filter

GROUPS = {
    StateFilter.WAITING: {State.WAITING, State.QUEUED, State.WAITING_FOR_LORA},
    StateFilter.RUNNING: {State.RUNNING, State.RUNNING_AGAIN},
}


def records() -> list[dict[str, Any]]:
    """A record of each phase and reason, of a first and a later version, with and without its resource."""
    found: list[dict[str, Any]] = []
    for phase, reason, version in itertools.product((None, *Phase, "Polishing"), (None, *Reason, "New"), (1, 3)):
        fields = {"phase": phase, "reason": reason, "runVersion": version, "type": "lora-training", "namespace": "red"}
        statuses = {legacy_status(phase, reason), *(("cancelled",) if phase not in ("Completed", "Failed") else ())}
        found += [fields | {"status": status} for status in sorted(statuses)]
    return found + [{"status": status} for status in ("completed", "failed", "cancelled")]


@pytest.fixture(scope="module")
def collection() -> Any:
    made: Any = mongomock.MongoClient()["x"]["jobs"]
    made.insert_many({"_id": number, "jobId": f"job-{number}"} | record for number, record in enumerate(records()))
    return made


def matching(collection: Any, filter_: dict[str, Any]) -> set[int]:
    return {document["_id"] for document in collection.find(filter_, {"_id": True})}


@pytest.mark.parametrize(
    "wanted", [each_state_filter for each_state_filter in StateFilter if each_state_filter is not StateFilter.NEEDS_ME]
)
def test_a_filter_matches_the_records_in_its_state(collection: Any, wanted: StateFilter) -> None:
    states = GROUPS.get(wanted, {State(wanted.value)} if wanted.value in list(State) else set())
    expected = {number for number, record in enumerate(records()) if state_of_record(record).state in states}
    assert expected or wanted is StateFilter.DELETING
    assert matching(collection, state_filter(wanted)) == expected


@pytest.mark.parametrize("wanted", StateFilter)
def test_a_job_that_is_being_deleted_has_no_other_state(collection: Any, wanted: StateFilter) -> None:
    deleted = {number for number in range(len(records())) if number % 3 == 0}
    rest = matching(collection, state_filter(wanted)) - deleted
    found = matching(collection, state_filter(wanted, None, {f"job-{number}" for number in deleted}))
    assert found == (deleted if wanted is StateFilter.DELETING else rest)


def test_the_jobs_that_need_a_person(collection: Any) -> None:
    states = [state_of_record(record) for record in records()]
    expected = {number for number, state in enumerate(states) if state.needs_person}
    approvals = {number for number, state in enumerate(states) if state.state is State.WAITING_FOR_APPROVAL}
    assert approvals
    assert approvals < expected
    for may, found in (
        (None, expected),
        ({}, expected - approvals),
        ({"red": frozenset({Kind.LORA_TRAINING})}, expected),
        ({"": frozenset(Kind)}, expected),
        ({"red": frozenset({Kind.TRANSCRIPTION}), "blue": frozenset(Kind)}, expected - approvals),
    ):
        assert matching(collection, state_filter(StateFilter.NEEDS_ME, may)) == found
