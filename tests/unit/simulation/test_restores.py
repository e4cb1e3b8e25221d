"""Restored stores: nothing is paid again (`make rehearse` runs all combinations, this is a sample)."""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_operator.observe import Observer
from contentgen_operator.state.purchases import Purchase, PurchaseKey
from contentgen_operator.state.sends import LastSend
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.sends import SendObjects
from contentgen_runtime.kube import Conflict
from contentgen_simulation.rehearsal.campaign import Report, campaign
from contentgen_simulation.rehearsal.generate import (
    HOUR,
    LOST,
    RESTORE_SEED,
    RESTORE_TURNS,
    RESTORED_AT,
    RESTORES,
    generate,
)
from contentgen_simulation.rehearsal.run import RehearsalVerdict, quiet, rehearse
from contentgen_simulation.rehearsal.world.plan import PlannedEvent, RehearsalPlan, Subject

# The SDK uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
IMAGES = Kind.IMAGE_GENERATION
SAMPLE = 21
PLANS = 750  # of `make rehearse`
UNSENT = {"planned": {}, "refused": {"1": "429"}}
AFTER = {
    "nothing": (),
    "re-apply": (PlannedEvent("delete", RESTORED_AT + 60), PlannedEvent("apply", RESTORED_AT + 120)),
    "gone": (PlannedEvent("delete", RESTORED_AT - 60), PlannedEvent("apply", RESTORED_AT + 60)),
    "edit": (
        PlannedEvent("edit", RESTORED_AT + 60, args={"variant": 1}),
        PlannedEvent("edit", RESTORED_AT + HOUR, args={"variant": 0}),
    ),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Restore the loggers for tests of other files in this process."""
    loggers = [logging.getLogger(name) for name in ("contentgen_operator", "contentgen_runtime", "stamina")]
    before = [(logger, logger.propagate, logger.level) for logger in loggers]
    quiet()
    yield
    for log, propagate, level in before:
        log.propagate = propagate
        log.setLevel(level)


def restored(kind: Kind, state: str, stores: tuple[str, ...], after: str, *more: PlannedEvent) -> RehearsalPlan:
    """A purchase that is completed, after which the stores are restored to an earlier state of it."""
    taken = PlannedEvent("snapshot", 0.0, f"state:{state}")
    rewind = PlannedEvent("rewind", RESTORED_AT, args={"stores": list(stores)})
    events = (taken, rewind, *more, *AFTER[after])
    return RehearsalPlan(0, "test", (Subject("ns", kind, "it"),), events, replies=UNSENT.get(state, {}), takes=2.0)


def report(verdict: RehearsalVerdict) -> str:
    return "\n".join([*verdict.story, *(violation.signature for violation in verdict.violations)])


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("stores", [("mongo",), ("mongo", "etcd")], ids="+".join)
@pytest.mark.parametrize(("kind", "state"), list(product(Kind, UNSENT)))
def test_a_ledger_restored_to_an_unsent_purchase_sends_nothing(
    kind: Kind, state: str, stores: tuple[str, ...], after: str
) -> None:
    verdict = rehearse(restored(kind, state, stores, after))
    assert verdict.violations == (), report(verdict)


@pytest.mark.parametrize("state", UNSENT)
def test_a_restored_backup_with_a_lost_request_sends_nothing(state: str) -> None:
    """MongoDB from its snapshot, then `contentgen restore` of a backup that has the same purchase as `sending`."""
    plan = restored(
        IMAGES, state, ("mongo",), "gone",
        PlannedEvent("back_up", 0.0, "state:sending"), PlannedEvent("restore", RESTORED_AT + 1),
    )  # fmt: skip
    verdict = rehearse(plan)
    assert verdict.violations == (), report(verdict)


def test_a_sample_of_restores_finds_nothing_unknown() -> None:
    report = Report()
    for finding in campaign(range(RESTORE_SEED, RESTORE_SEED + SAMPLE)):
        report.add(finding)
    unknown = {signature: [each.seed for each in found] for signature, found in report.unknown.items()}
    assert not unknown, "python -m contentgen_simulation.rehearsal --replay SEED --shrink"
    assert set(report.groups) == set(RESTORE_TURNS)


def test_each_combination_has_its_turn() -> None:
    plans = Counter(generate(seed).group for seed in range(RESTORE_SEED, RESTORE_SEED + PLANS))
    for group, stride, combinations in (("restored", 13, RESTORES), ("lost_object", 7, LOST)):
        assert plans[group] >= len(combinations)
        assert math.gcd(stride, len(combinations)) == 1, "the seeds take them all"


def test_attempt_not_sought_in_the_bucket_is_paid_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the object of an earlier try is not read."""

    async def nothing(*_: object) -> LastSend:
        return LastSend(number=99)

    monkeypatch.setattr(SendObjects, "last", nothing)
    verdict = rehearse(restored(IMAGES, "planned", ("mongo",), "gone"))
    assert {violation.oracle for violation in verdict.violations} >= {"one POST per purchase"}, report(verdict)


def meanwhile(nth: int) -> RehearsalPlan:
    """A refused purchase, on which another process works before one operation of the ledger."""
    struck = PlannedEvent("io", args={"anchor": "ledger", "nth": nth, "side": "before", "action": "meanwhile"})
    return RehearsalPlan(0, "test", (Subject("ns", IMAGES, "it"),), (struck,), replies={"1": "429"}, takes=2.0)


REPLANS = 44  # the compare-and-set in `_planned_again`
STRUCK = (9, 17, 27, 37, REPLANS, 50)  # 37 and 50: between the reads of the purchase and of equal requests


@pytest.mark.parametrize("nth", STRUCK)
def test_process_between_two_ledger_operations_changes_nothing(nth: int) -> None:
    verdict = rehearse(meanwhile(nth))
    assert (verdict.violations, verdict.fired) == ((), 1), report(verdict)


def test_a_replanned_purchase_that_is_not_compared_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: `_planned_again` without its compare-and-set."""

    def not_compared(self: Ledger, key: PurchaseKey, _: Purchase, fresh: dict[str, Any]) -> bool:
        before = self._collection.find_one({"_id": str(key)})
        if before is None or before["state"] != "refused":
            return False
        self._collection.update_one(
            {"_id": str(key)}, {"$set": {n: fresh[n] for n in ("state", "sendState", "changedAt")}}
        )
        return True

    monkeypatch.setattr(Ledger, "_planned_again", not_compared)
    found = {violation.signature for violation in rehearse(meanwhile(REPLANS)).violations}
    assert "purchases change as documented: submitted to planned" in found


def lost_reply(*events: PlannedEvent) -> RehearsalPlan:
    """A purchase whose reply is lost, and whose request the history shows later."""
    subject = (Subject("ns", IMAGES, "it"),)
    return RehearsalPlan(0, "test", subject, events, replies={"1": "lost"}, history={"lag": HOUR}, takes=2.0)


LOSE = PlannedEvent("lose", 1.0, "state:sending", args={"what": "send"})


def test_a_purchase_whose_object_is_lost_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a try without its object in the bucket is taken for unsent; only a lost object shows that."""
    found = Observer._find_lost_request

    async def trusting(self: Any, resource: Any, key: PurchaseKey, spec: Any, purchase: Purchase) -> dict[str, Any]:
        if await SendObjects(self.storage).read(key, purchase.send_number) is None:
            await self.ledger.withdraw(key, purchase.sent_by)
            raise Conflict("sent again")
        return await found(self, resource, key, spec, purchase)

    verdict = rehearse(lost_reply(LOSE))
    assert (verdict.violations, verdict.posts) == ((), 1), report(verdict)
    monkeypatch.setattr(Observer, "_find_lost_request", trusting)
    signatures = [
        {violation.oracle for violation in rehearse(lost_reply(*events)).violations} for events in ((LOSE,), ())
    ]
    assert "one POST per purchase" in signatures[0]
    assert not signatures[1]
