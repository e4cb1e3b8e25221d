"""Outcome that is replaced after the operator has read it; its URL is valid until the attempt's deadline.

The worker's URL for its outcome overwrites (decision 0001), so each read may be the last one that finds the judged
bytes. Nothing that was judged is read again: facts go from memory into the status or the ledger, and from there on.
"""

from typing import Any

import pytest

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records.ownership import Owner
from contentgen_contract.worker.orders import Outcome
from contentgen_operator.state.purchases import PurchaseState
from contentgen_simulation.world import SPECS, MemoryStorage, World, Writes, outcome_of

OTHER_FACTS: dict[str, dict[str, Any]] = {
    "dataset": {"images": 11, "durationSeconds": 59},
    "audio": {"durationSeconds": 60.25},
    "lora": {"sizeBytes": 8},
    "images": {"seed": 8},
    "transcript": {"wordCount": 9},
}
"""Facts that would be accepted as well."""


class SwappingStorage(MemoryStorage):
    """A bucket whose outcomes are replaced as soon as they have been read."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self.swapped: list[str] = []

    async def outcome(self, owner: Owner, key: str) -> Outcome | None:
        found = await super().outcome(owner, key)
        if found is not None and found.facts is not None:
            body = found.model_dump(mode="json", by_alias=True)
            body["facts"] |= OTHER_FACTS[found.facts.type]
            self.objects[key] = Outcome.model_validate(body).model_dump_json(by_alias=True)
            self.swapped.append(key)
        return found


async def story(monkeypatch: pytest.MonkeyPatch, kind: Kind, writes: Writes) -> tuple[World, SwappingStorage]:
    world = World(monkeypatch, writes)
    world.storage = storage = SwappingStorage(writes)
    world.restart()
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind)
    await world.recover(kind)
    return world, storage


def facts_of(kind: Kind, stage: Stage) -> dict[str, Any]:
    facts = outcome_of(kind, stage, "uid").facts
    assert facts is not None
    return facts.model_dump(mode="json", by_alias=True)


def stages(kind: Kind) -> list[Stage]:
    return list(kind.info.stages)


def without_sums(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in ("storedBytes", "sentSha256")}


@pytest.mark.parametrize("kind", Kind)
async def test_validated_outcome_is_the_used_one(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    world, storage = await story(monkeypatch, kind, Writes())
    status, (purchase,) = world.status(kind), world.database["ledger"].find()
    assert len(set(storage.swapped)) == len(stages(kind))
    assert status.run is not None
    assert status.versions[0].facts == facts_of(kind, Stage.COLLECT)
    assert purchase["outputs"]["facts"] == facts_of(kind, Stage.COLLECT)
    if Stage.PREPARE in stages(kind):
        assert without_sums(status.run.facts or {}) == facts_of(kind, Stage.PREPARE)
    if kind is Kind.TRANSCRIPTION:
        assert purchase["units"] == 60.5, "what is paid by"


@pytest.mark.parametrize("kind", Kind)
async def test_single_reading_is_used_even_after_a_crash(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before anything of an outcome is kept has it read, and judged, again; one after that does not."""
    reference, _ = await story(monkeypatch, kind, Writes())
    done = reference.writes.done
    for point in range(2 * len(done)):
        if done[point // 2] in ("sending", "evidence", "POST"):
            continue  # a person is asked then: test_crashes.py
        world, storage = await story(monkeypatch, kind, Writes((point,)))
        status, (purchase,) = world.status(kind), world.database["ledger"].find()
        where = f"crash {world.writes.fired[0]} (point {point}), read {storage.swapped}"
        assert status.run is not None
        kept, first = status.versions[0].facts, facts_of(kind, Stage.COLLECT)
        assert kept == purchase["outputs"]["facts"], where
        if (2 * done.index(f"move to {PurchaseState.COLLECTED}") + 1) <= point:
            assert kept == first, where
        else:
            assert kept in (first, first | OTHER_FACTS[first["type"]]), where
        if kind is Kind.TRANSCRIPTION:
            assert purchase["units"] == (status.run.facts or {})["durationSeconds"], where
