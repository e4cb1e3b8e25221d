"""Approval of a run before its payment, and dry runs."""

from typing import Any

import pytest

from contentgen_contract.names import (
    APPROVAL_LABEL,
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    CANCEL_ANNOTATION,
    REJECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Kind,
    Phase,
)
from contentgen_contract.resources.prices import PRICES, USD, Price, PriceLookup, Unit
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.provider_requests import Found
from contentgen_simulation.world import SPECS, UID, World, Writes, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
MANUAL = {"approval": "Manual"}
WAITING = (Phase.AWAITING_APPROVAL, "AwaitingApproval")


ENOUGH = "999"  # US dollars


def approved(number: int, by: str = "alice", verb: str = APPROVE_ANNOTATION, amount: str = ENOUGH) -> dict[str, str]:
    return {verb: f"{number}-{amount}" if verb == APPROVE_ANNOTATION else str(number), APPROVED_BY_ANNOTATION: by}


def said(status: ResourceStatus) -> tuple[Phase | None, str | None]:
    return status.phase, status.reason


async def waiting(monkeypatch: pytest.MonkeyPatch, kind: Kind = LORA, **annotations: str) -> World:
    world = World(monkeypatch, Writes())
    world.kube.apply(kind, SPECS[kind] | MANUAL, **annotations)
    assert said(await world.finish(kind, Phase.AWAITING_APPROVAL)) == WAITING
    return world


async def remains(world: World, kind: Kind = LORA) -> ResourceStatus:
    """The status after some more reconciles, in which nothing was paid."""
    for _ in range(6):
        await world.reconcile(kind)
    assert world.provider.posts == []
    return world.status(kind)


@pytest.mark.parametrize("kind", Kind)
async def test_run_waits_after_its_free_stages_until_approved(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting(monkeypatch, kind)
    status = await remains(world, kind)
    assert said(status) == WAITING
    assert "about" in (status.message or "")
    assert status.cost is not None
    assert (kind is IMAGES) or (status.run is not None and status.run.facts is not None)
    world.kube.apply(kind, SPECS[kind] | MANUAL, **approved(1))
    status = await world.finish(kind)
    assert said(status) == (Phase.COMPLETED, "Completed")
    assert status.run is not None
    assert status.run.approval is not None
    assert (status.run.approval.by, status.run.approval.run) == ("alice", 1)
    assert len(world.provider.posts) == 1
    await world.recover(kind)


async def test_the_message_has_price_pictures_and_rejected_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting(monkeypatch)
    message = world.status(LORA).message or ""
    assert "about 2.00 USD, at most 2.00 USD" in message
    assert f"{APPROVE_ANNOTATION}=1-2.00 and " in message
    assert "12 pictures of 4 scenes, frames rejected: 7 Blurred, 1 TooDark; nothing is paid before" in message
    assert "kubectl contentgen approve it" in message


async def test_a_rejected_run_ends_unpaid_and_another_run_waits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting(monkeypatch)
    world.kube.apply(LORA, SPECS[LORA] | MANUAL, **approved(1, "bob", REJECT_ANNOTATION))
    status = await world.finish(LORA)
    assert said(status) == (Phase.FAILED, "Rejected")
    assert status.message == "rejected by bob; nothing was paid"
    assert status.run is not None
    assert status.run.billed is False
    world.kube.apply(LORA, SPECS[LORA] | MANUAL, **(approved(1) | {RERUN_ANNOTATION: "again"}))
    assert said(await world.finish(LORA, Phase.AWAITING_APPROVAL)) == WAITING
    assert said(await remains(world)) == WAITING


async def test_a_rejection_wins_over_an_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting(monkeypatch, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **(approved(1) | {REJECT_ANNOTATION: "1"}))
    assert said(await world.finish(IMAGES)) == (Phase.FAILED, "Rejected")
    assert world.provider.posts == []


@pytest.mark.parametrize("kind", Kind)
async def test_an_approval_that_was_set_at_the_creation_lapses(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """And also after it was removed from the manifest and set again before the operator looked."""
    world = await waiting(monkeypatch, kind, **approved(1))
    assert said(await remains(world, kind)) == WAITING
    world.kube.apply(kind, SPECS[kind] | MANUAL, **(approved(1) | {APPROVE_ANNOTATION: "1-999-2"}))
    assert said(await world.finish(kind)) == (Phase.COMPLETED, "Completed")


async def test_lapsed_approval_counts_after_removal_and_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting(monkeypatch, IMAGES, **approved(1))
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL)
    assert said(await remains(world, IMAGES)) == WAITING
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "Completed")


async def test_removed_rejection_does_not_restore_a_lapsed_approval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await waiting(monkeypatch, IMAGES, **(approved(1) | {REJECT_ANNOTATION: "1"}))
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    assert said(await remains(world, IMAGES)) == WAITING


@pytest.mark.parametrize("reconciles", range(6))
async def test_approval_counts_only_after_the_status_showed_the_wait(
    reconciles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set after any number of reconciles: before the wait, it lapses."""
    world = World(monkeypatch, Writes())
    world.kube.apply(LORA, SPECS[LORA] | MANUAL)
    for _ in range(reconciles):
        await world.reconcile(LORA)
    shown = world.status(LORA).phase is Phase.AWAITING_APPROVAL
    world.kube.apply(LORA, SPECS[LORA] | MANUAL, **approved(1))
    for _ in range(8):
        await world.reconcile(LORA)
    assert len(world.provider.posts) == shown


@pytest.mark.parametrize(
    "annotations",
    [
        {APPROVE_ANNOTATION: "1-999"},
        {APPROVE_ANNOTATION: "1-999", APPROVED_BY_ANNOTATION: ""},
        {APPROVE_ANNOTATION: "1-999", APPROVED_BY_ANNOTATION: "x" * 257},
        {APPROVE_ANNOTATION: "1-999", APPROVED_BY_ANNOTATION: "al\x1bice"},
        approved(2),
        {APPROVE_ANNOTATION: "1", APPROVED_BY_ANNOTATION: "alice"},
        {APPROVE_ANNOTATION: "1-again", APPROVED_BY_ANNOTATION: "alice"},
        {APPROVE_ANNOTATION: "01-999", APPROVED_BY_ANNOTATION: "alice"},
        {APPROVE_ANNOTATION: "true", APPROVED_BY_ANNOTATION: "alice"},
        {APPROVE_ANNOTATION: "", APPROVED_BY_ANNOTATION: "alice"},
    ],
)
async def test_approval_without_user_or_of_another_run_is_ignored(
    annotations: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await waiting(monkeypatch, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **annotations)
    assert said(await remains(world, IMAGES)) == WAITING


EDITED: dict[Kind, dict[str, Any]] = {
    LORA: {"triggerWord": "other"},
    IMAGES: {"prompt": "another"},
    TRANSCRIPT: {"options": {"speakerLabels": False}},
}


@pytest.mark.parametrize("kind", Kind)
async def test_edit_while_waiting_replaces_the_run_and_its_approvals(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that comes with an approval of either number: only what waits now may be approved."""
    world = await waiting(monkeypatch, kind)
    edited = SPECS[kind] | MANUAL | EDITED[kind]
    world.kube.apply(kind, edited, **approved(1))
    await world.reconcile(kind)
    world.kube.apply(kind, edited, **approved(2))
    assert said(await world.finish(kind, Phase.AWAITING_APPROVAL)) == WAITING
    status = await remains(world, kind)
    assert status.run is not None
    assert (status.phase, status.run.number) == (Phase.AWAITING_APPROVAL, 2)
    world.kube.apply(kind, edited, **approved(2, "carol"))
    status = await world.finish(kind)
    assert said(status) == (Phase.COMPLETED, "Completed")
    assert len(world.provider.posts) == 1


async def test_edit_that_removes_the_requirement_pays_its_own_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await waiting(monkeypatch, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | EDITED[IMAGES])
    status = await world.finish(IMAGES)
    assert said(status) == (Phase.COMPLETED, "Completed")
    assert status.run is not None
    assert status.run.number == 2
    assert len(world.provider.posts) == 1


async def test_an_edit_of_a_finished_resource_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in Git costs nothing: the annotation of the run that was approved stays there."""
    world = await waiting(monkeypatch, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    await world.finish(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | EDITED[IMAGES], **approved(1))
    for _ in range(8):
        await world.reconcile(IMAGES)
    assert said(world.status(IMAGES)) == WAITING
    assert len(world.provider.posts) == 1
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "AdoptedFinishedRun")
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("label", ["Manual", "manual", ""])
async def test_the_label_of_the_namespace_is_a_minimum(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.kube.server.namespace_labels["ns"] = {APPROVAL_LABEL: label}
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"approval": "Automatic"})
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING
    world.kube.server.namespace_labels["ns"] = {APPROVAL_LABEL: "Automatic"}
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "Completed")


async def test_the_setting_of_the_installation_is_a_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.decision_settings = DecisionSettings(approval_required=True)
    world.restart()
    world.kube.server.namespace_labels["ns"] = {APPROVAL_LABEL: "Automatic"}
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING


async def test_an_accepted_approval_stays_when_its_annotations_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is part of the run document: it is accepted while the run is suspended in the same edit."""
    world = await waiting(monkeypatch, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | {"suspend": True}, **approved(1))
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.SUSPENDED
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | {"suspend": True}, **approved(1, "eve", REJECT_ANNOTATION))
    await world.reconcile(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL)
    status = await world.finish(IMAGES)
    assert said(status) == (Phase.COMPLETED, "Completed")
    assert status.run is not None
    assert status.run.approval is not None
    assert status.run.approval.by == "alice"


async def test_approval_set_during_a_suspension_lapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run document has the wait, and the status does not show it."""
    world = await waiting(monkeypatch, IMAGES)
    suspended = SPECS[IMAGES] | MANUAL | {"suspend": True}
    world.kube.apply(IMAGES, suspended)
    await world.reconcile(IMAGES)
    world.kube.apply(IMAGES, suspended, **approved(1))
    await world.reconcile(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    assert said(await remains(world, IMAGES)) == WAITING


async def test_approval_forged_in_the_status_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await waiting(monkeypatch, IMAGES)
    forged = world.kube.resources[IMAGES, "it"]["status"]["run"]["approval"]
    forged |= {"verdict": "Approved", "by": "mallory"}
    status = await remains(world, IMAGES)
    assert said(status) == WAITING
    assert status.run is not None
    assert status.run.approval is not None
    assert status.run.approval.verdict is None


async def test_waiting_run_is_suspended_cancelled_or_late(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting(monkeypatch)
    world.kube.apply(LORA, SPECS[LORA] | MANUAL | {"suspend": True})
    await world.reconcile(LORA)
    assert world.status(LORA).phase is Phase.SUSPENDED
    world.kube.apply(LORA, SPECS[LORA] | MANUAL)
    assert said(await world.finish(LORA, Phase.AWAITING_APPROVAL)) == WAITING
    world.kube.apply(LORA, SPECS[LORA] | MANUAL, **(approved(1) | {CANCEL_ANNOTATION: "1"}))
    assert said(await world.finish(LORA)) == (Phase.FAILED, "Cancelled")
    late = await waiting(monkeypatch, IMAGES)
    late.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | {"deadlineSeconds": 60})
    status = await late.finish(IMAGES)
    assert said(status) == (Phase.FAILED, "DeadlineExceeded")
    assert "it waited (AwaitingApproval)" in (status.message or "")
    assert world.provider.posts == late.provider.posts == []


async def test_waiting_resource_deleted_and_recreated_waits_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await waiting(monkeypatch, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, uid="another-uid", **approved(1))
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING
    assert said(await remains(world, IMAGES)) == WAITING


async def _find_nothing(_: object) -> Found:
    return Found(request_id=None, complete=True)


async def test_repeated_request_needs_its_own_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    """`contentgen.dev/resubmit` needs the verb `spend` alone, and the first request may have been paid."""
    world = await waiting(monkeypatch, IMAGES)
    monkeypatch.setattr(world.provider, "find", _find_nothing)
    world.provider.lose_replies = {1}
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    lost = await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN)
    token = resubmit_token(lost)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1), **{RESUBMIT_ANNOTATION: token})
    status = await world.finish(IMAGES, Phase.AWAITING_APPROVAL)
    assert "no other attempt is paid before" in (status.message or "")
    for _ in range(6):
        await world.reconcile(IMAGES)
    assert len(world.provider.posts) == 1
    again = {APPROVE_ANNOTATION: "1-999-again", APPROVED_BY_ANNOTATION: "alice"}
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **again, **{RESUBMIT_ANNOTATION: token})
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2


@pytest.mark.parametrize("kind", Kind)
async def test_dry_run_ends_with_a_price_and_is_paid_without_the_field(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(kind, SPECS[kind] | {"dryRun": "Estimate"})
    status = await world.finish(kind)
    assert said(status) == (Phase.COMPLETED, "Estimated")
    assert status.cost is not None
    assert status.run is not None
    assert (status.cost.estimated != "", status.cost.actual, status.run.billed) == (True, "", False)
    assert status.versions == ()
    true = {condition.type for condition in status.conditions if condition.status == "True"}
    assert true & {"Submitted", "Stored", "Failed"} == set()
    record = world.database["jobs"].find_one({"jobId": UID})
    assert (record["status"], record["versions"]) == ("cancelled", [])
    await world.recover(kind)
    assert world.provider.posts == []
    world.kube.apply(kind, SPECS[kind])
    assert said(await world.finish(kind, Phase.PROCESSING))[0] in (Phase.PROCESSING, Phase.COMPLETED)
    await world.finish(kind)
    assert said(world.status(kind)) == (Phase.COMPLETED, "Completed")
    assert len(world.provider.posts) == 1


async def test_dry_run_needs_no_key_no_lora_and_no_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.provider.configured = False
    lora = {"model": "flux-lora", "loras": [{"loraRef": {"name": "none"}}]}
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | lora | {"dryRun": "Estimate"})
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == (Phase.COMPLETED, "Estimated")


async def test_a_dry_run_that_is_set_while_a_run_waits_withdraws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting(monkeypatch, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | {"dryRun": "Estimate"}, **approved(1))
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "Estimated")
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING
    assert said(await remains(world, IMAGES)) == WAITING


# The price that is approved


UNCOUNTED = Price(micros=USD, unit=Unit.OTHER, source="test")


class Prices:
    """fal's prices of an image in US dollars; None: the model is priced in a unit that is known afterwards."""

    def __init__(self, usd: float | None = 0.035) -> None:
        self.usd = usd
        self.problem = ""

    async def price(self, _model: str, _account: str | None = None) -> PriceLookup:
        if self.problem:
            return PriceLookup(problem=self.problem)
        unit = Unit.OTHER if self.usd is None else Unit.IMAGE
        return PriceLookup(price=Price(micros=round((self.usd or 1) * USD, 3), unit=unit, source="test"))


async def priced(monkeypatch: pytest.MonkeyPatch, usd: float | None = 0.035, **spec: Any) -> tuple[World, Prices]:
    """A run of two pictures that waits for an approval at this price. The table has no price with an upper bound."""
    world, prices = World(monkeypatch, Writes()), Prices(usd)
    listed = PRICES | {"fal-ai/flux-lora": UNCOUNTED}
    world.decision_settings = world.decision_settings.model_copy(update={"prices": listed})
    world.prices = prices
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | spec)
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING
    return world, prices


def amount(world: World) -> str | None:
    run = world.status(IMAGES).run
    assert run is not None
    assert run.approval is not None
    return run.approval.amount


def message(world: World) -> str:
    return world.status(IMAGES).message or ""


async def approve_while_suspended(world: World, given: str = "0.07") -> None:
    """The approval is accepted, and the run waits for another cause."""
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | {"suspend": True}, **approved(1, amount=given))
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.SUSPENDED


@pytest.mark.parametrize(
    ("before", "given", "after", "shows"),
    [
        (0.035, "0.07", 3.5, "at most 7.00 USD; the price was at most 0.07 USD for an attempt before"),
        (0.035, "999", 3.5, "at most 7.00 USD; the price was at most 0.07 USD for an attempt before"),
        (0.035, "0.07", 0.0350005, "at most 0.070001 USD; the price was at most 0.07 USD"),
        (0.035, "0.07", None, "without a limit; the price was at most 0.07 USD"),
        (None, "unknown", 0.035, "at most 0.07 USD; the price was unknown before"),
    ],
)
async def test_price_rise_after_the_approval_waits_with_both_prices(
    monkeypatch: pytest.MonkeyPatch, before: float | None, given: str, after: float | None, shows: str
) -> None:
    world, prices = await priced(monkeypatch, before)
    await approve_while_suspended(world, given)
    prices.usd = after
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount=given))
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING
    assert said(await remains(world, IMAGES)) == WAITING
    assert shows in message(world)
    assert "an approval of that has lapsed" in message(world)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount=f"{amount(world)}-again"))
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "Completed")


@pytest.mark.parametrize(
    ("before", "given", "after"), [(0.035, "0.07", 0.01), (0.035, "0.07", 0.035), (None, "unknown", None)]
)
async def test_a_price_that_does_not_rise_is_paid(
    monkeypatch: pytest.MonkeyPatch, before: float | None, given: str, after: float | None
) -> None:
    world, prices = await priced(monkeypatch, before)
    await approve_while_suspended(world, given)
    prices.usd = after
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount=given))
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "Completed")


@pytest.mark.parametrize("given", ["0.069999", "0", "unknown", "0.0.7", "-1"])
async def test_an_approval_below_the_price_lapses(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """Also if the price falls to its amount later."""
    world, prices = await priced(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount=given))
    assert said(await remains(world, IMAGES)) == WAITING
    prices.usd = 0.000001
    assert said(await remains(world, IMAGES)) == WAITING
    assert amount(world) == "0.000002"


async def test_an_unknown_price_is_not_approved_by_an_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await priced(monkeypatch, None)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    assert said(await remains(world, IMAGES)) == WAITING


async def test_an_approval_covers_the_lowest_price_that_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that shows an earlier, higher price stays open."""
    world, prices = await priced(monkeypatch)
    prices.usd = 0.01
    await remains(world, IMAGES)
    assert amount(world) == "0.02"
    await approve_while_suspended(world, "0.07")
    prices.usd = 0.03
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount="0.07"))
    assert said(await remains(world, IMAGES)) == WAITING
    assert "at most 0.06 USD; the price was at most 0.02 USD" in message(world)


async def test_price_rise_while_waiting_needs_the_new_amount(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The approval reaches the operator together with the new price, or after it."""
    for shown in (False, True):
        world, prices = await priced(monkeypatch)
        prices.usd = 3.5
        if shown:
            await remains(world, IMAGES)
        world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount="0.07"))
        assert said(await remains(world, IMAGES)) == WAITING
        assert "at most 7.00 USD; the price was at most 0.07 USD" in message(world)


async def test_bound_of_several_attempts_is_shown_and_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, prices = await priced(monkeypatch, paidAttempts=3)
    assert "for each of up to 3 attempts, at most 0.21 USD in all" in message(world)
    assert amount(world) == "0.21"
    world.provider.fails = {1}
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL | {"paidAttempts": 3}, **approved(1, amount="0.21"))
    await world.finish(IMAGES, Phase.PROCESSING)
    prices.usd = 0.05  # two attempts cost less than the three that were approved
    status = await world.finish(IMAGES, Phase.AWAITING_APPROVAL)
    assert said(status) == WAITING
    assert (
        "about 0.10 USD for each of up to 2 attempts, at most 0.20 USD in all; the price was at most 0.07"
        in message(world)
    )
    assert "no other attempt is paid before" in message(world)
    assert len(world.provider.posts) == 1


async def test_a_price_that_cannot_be_read_is_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in price, which may be lower, is no substitute; the approval stays."""
    world, prices = await priced(monkeypatch)
    prices.problem = "fal's prices could not be read: 503"
    await remains(world, IMAGES)
    assert (amount(world), said(world.status(IMAGES))) == ("0.07", WAITING)
    assert "the price can't be read now" in message(world)
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount="0.07"))
    status = await remains(world, IMAGES)
    assert said(status) == (Phase.SUBMITTING, "ProviderUnavailable")
    assert "503; it is read again, and nothing is paid until then" in message(world)
    prices.problem = ""
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "Completed")


async def test_unread_price_is_neither_shown_nor_approved(monkeypatch: pytest.MonkeyPatch) -> None:
    world, prices = World(monkeypatch, Writes()), Prices()
    world.prices, prices.problem = prices, "fal's prices could not be read: 503"
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1))
    assert said(await remains(world, IMAGES)) == (Phase.PENDING, "ProviderUnavailable")
    prices.problem = ""
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING
    assert said(await remains(world, IMAGES)) == WAITING


async def test_price_of_the_installation_needs_no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    world, prices = World(monkeypatch, Writes()), Prices()
    prices.problem = "fal's prices could not be read: 503"
    world.prices, world.decision_settings = (
        prices,
        world.decision_settings.model_copy(update={"own_prices": frozenset({"fal-ai/flux-lora"})}),
    )
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL)
    assert said(await world.finish(IMAGES, Phase.AWAITING_APPROVAL)) == WAITING
    world.kube.apply(IMAGES, SPECS[IMAGES] | MANUAL, **approved(1, amount=str(amount(world))))
    assert said(await world.finish(IMAGES)) == (Phase.COMPLETED, "Completed")
