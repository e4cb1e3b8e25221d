"""Edits that leave the provider's request unchanged pay nothing (decision 0042)."""

import dataclasses
import random
from typing import Any

import pytest

from contentgen_contract.names import RERUN_ANNOTATION, Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.providers.base import Refused
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.observed import is_finished
from contentgen_operator.state.provider_requests import GONE, RequestView
from contentgen_simulation.tenancy import admin, mapped, rebuilt, recreated
from contentgen_simulation.world import UID, World

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
OTHER = UID.replace("a01", "a02")
SHA = "5" * 64
KREA = "fal-ai/krea-2-trainer"
SIGNED = "?X-Amz-Date={0}&X-Amz-Signature=ab{0}"
VIDEO: dict[str, Any] = {"loraName": "n", "triggerWord": "jf", "source": {"url": "https://example.com/talk.mp4"}}
SOUND: dict[str, Any] = {"source": {"url": "https://example.com/talk.mp3"}}
CAT: dict[str, Any] = {"prompt": "a cat"}
DRAWN = CAT | {"loras": [{"path": "https://example.com/a.safetensors", "scale": "0.8"}]}


def trained(**training: Any) -> dict[str, Any]:
    return VIDEO | {"training": training}


def heard(url: str = "https://example.com/talk.mp3", sha256: str | None = None, **options: Any) -> dict[str, Any]:
    return {"source": {"url": url} | ({"sha256": sha256} if sha256 else {}), "options": options}


def drawn(path: str, scale: str = "0.8") -> dict[str, Any]:
    return CAT | {"loras": [{"path": path, "scale": scale}]}


async def bought(world: World, kind: Kind, spec: dict[str, Any], uid: str = UID, **annotations: str) -> ResourceStatus:
    """The end of the run that a manifest starts."""
    number = world.status(kind).run.number if world.there(kind) else 0  # type: ignore[union-attr]
    world.kube.apply(kind, spec, uid, **annotations)
    for _ in range(100):
        await world.reconcile(kind)
        status = world.status(kind)
        ended = status.phase in (Phase.COMPLETED, Phase.FAILED) and status.run is not None
        if ended and status.run.number > number:  # type: ignore[union-attr]
            return status
    raise AssertionError(world.status(kind))


@pytest.fixture
def anything(world: World) -> World:
    """A world in which every model may be bought."""
    world.decision_settings = DecisionSettings(
        poll_seconds=300, models_allowed=("flux-lora", "flux-lora-fast-training", KREA)
    )
    world.restart()
    return world


SAME: dict[str, tuple[Kind, dict[str, Any], dict[str, Any]]] = {
    "alias of a model": (IMAGES, CAT | {"model": "flux-lora"}, CAT | {"model": "fal-ai/flux-lora"}),
    "alias of a trainer": (
        LORA,
        trained(model="flux-lora-fast-training"),
        trained(model="fal-ai/flux-lora-fast-training"),
    ),
    "scale": (IMAGES, DRAWN, drawn("https://example.com/a.safetensors", "0.80")),
    "learning rate": (LORA, trained(model=KREA, learningRate="0.0004"), trained(model=KREA, learningRate="0.00040")),
    "source signed again": (
        LORA,
        VIDEO | {"source": {"url": "https://example.com/talk.mp4" + SIGNED.format(1)}},
        VIDEO | {"source": {"url": "https://example.com/talk.mp4" + SIGNED.format(2)}},
    ),
    "lora signed again": (
        IMAGES,
        drawn("https://example.com/a.safetensors" + SIGNED.format(1)),
        drawn("https://example.com/a.safetensors" + SIGNED.format(2)),
    ),
    "civitai token": (
        IMAGES,
        drawn("https://civitai.com/api/download/models/7?type=Model&token=one"),
        drawn("https://civitai.com/api/download/models/7?type=Model&token=two"),
    ),
    "fewer formats": (TRANSCRIPT, SOUND, heard(formats=["json", "txt"])),
    "other subtitles": (TRANSCRIPT, SOUND, heard(subtitles={"lineLength": 32})),
    "checksum": (TRANSCRIPT, SOUND, heard(sha256=SHA)),
    "recording signed again": (TRANSCRIPT, SOUND, heard("https://example.com/talk.mp3" + SIGNED.format(1))),
    "decimal of the dataset": (
        LORA,
        VIDEO | {"dataset": {"faces": {"minSize": "0.2", "mode": "Prefer"}}},
        VIDEO | {"dataset": {"faces": {"minSize": "0.20", "mode": "Prefer"}}},
    ),
}


@pytest.mark.parametrize(("kind", "before", "after"), SAME.values(), ids=SAME)
async def test_same_request_is_paid_once(
    anything: World, kind: Kind, before: dict[str, Any], after: dict[str, Any]
) -> None:
    first = await bought(anything, kind, before)
    total = first.cost.total if first.cost else None
    status = await bought(anything, kind, after)
    assert (status.phase, status.reason) == (Phase.COMPLETED, Reason.ADOPTED_SAME_REQUEST)
    assert (len(anything.provider.posts), [version.version for version in status.versions]) == (1, [1, 2])
    assert status.cost is not None
    assert (status.cost.actual, status.cost.total) == ("0.00", total)
    assert status.run is not None
    assert (status.run.billed, status.run.same_as is not None) == (False, True)
    assert len(list(anything.database["ledger"].find())) == 1
    back = await bought(anything, kind, before)
    assert (back.phase, len(anything.provider.posts)) == (Phase.COMPLETED, 1)


OTHERS: dict[str, tuple[Kind, dict[str, Any], dict[str, Any]]] = {
    "prompt": (IMAGES, CAT, CAT | {"prompt": "a dog"}),
    "seed": (IMAGES, CAT | {"image": {"seed": 1}}, CAT | {"image": {"seed": 2}}),
    "scale": (IMAGES, DRAWN, drawn("https://example.com/a.safetensors", "0.81")),
    "version of a lora": (
        IMAGES,
        drawn("https://example.com/a?versionId=1"),
        drawn("https://example.com/a?versionId=2"),
    ),
    "steps": (LORA, VIDEO, trained(steps=1001)),
    "learning rate": (LORA, trained(model=KREA, learningRate="0.0004"), trained(model=KREA, learningRate="0.0005")),
    "source": (TRANSCRIPT, SOUND, heard("https://example.com/other.mp3")),
    "track": (TRANSCRIPT, SOUND, heard(audioTrack=2)),
    "language": (TRANSCRIPT, SOUND, heard(language="de")),
    "speakers": (TRANSCRIPT, SOUND, heard(speakerLabels=False)),
}


@pytest.mark.parametrize(("kind", "before", "after"), OTHERS.values(), ids=OTHERS)
async def test_other_request_is_bought(
    anything: World, kind: Kind, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await bought(anything, kind, before)
    status = await bought(anything, kind, after)
    assert (status.reason, len(anything.provider.posts)) == (Reason.COMPLETED, 2)


@pytest.mark.parametrize(
    ("before", "after", "posts"), [(None, "used", 1), (7, None, 1), (7, 7, 1), (None, 7, 2), (7, 8, 2)]
)
async def test_seed(world: World, before: int | None, after: int | str | None, posts: int) -> None:
    """A request with the seed that was used, or with none, is equal."""
    await bought(world, IMAGES, CAT | ({"image": {"seed": before}} if before else {}))
    seed = world.provider.posts[0].arguments["seed"] if after == "used" else after
    spec = CAT | ({"image": {"seed": seed}} if seed else {}) | {"model": "fal-ai/flux-lora"}
    await bought(world, IMAGES, spec)
    assert len(world.provider.posts) == posts


async def test_missing_formats_are_made_from_the_response(world: World) -> None:
    await bought(world, TRANSCRIPT, heard(formats=["json"]))
    status = await bought(world, TRANSCRIPT, heard(formats=["json", "srt"]))
    names = [file.key.rpartition("/")[2] for file in status.versions[-1].files]
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)
    assert names == ["transcript.json", "transcript.txt", "transcript.srt"]
    assert "/v2/" in status.versions[-1].files[0].key
    assert status.cost is not None
    assert (status.cost.actual, status.run and status.run.billed) == ("0.00", False)


async def test_subtitles_with_other_limits_are_made_from_the_response(world: World) -> None:
    short = heard(formats=["srt"], subtitles={"lineLength": 32})
    await bought(world, TRANSCRIPT, heard(formats=["srt"]))
    status = await bought(world, TRANSCRIPT, short)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)
    assert "/v2/" in status.versions[-1].files[0].key
    status = await bought(world, TRANSCRIPT, short | {"source": {"url": "https://example.com/talk.mp3?again"}})
    assert all("/v2/" in file.key for file in status.versions[-1].files), "nothing is made again for equal limits"
    status = await bought(world, TRANSCRIPT, heard(formats=["json"]))
    assert (len(world.provider.posts), status.cost and status.cost.actual) == (1, "0.00")


async def test_formats_without_a_response_are_named(world: World) -> None:
    await bought(world, TRANSCRIPT, heard(formats=["json"]))
    for key in [each_key for each_key in world.storage.objects if each_key.endswith("response.json")]:
        del world.storage.objects[key]
    status = await bought(world, TRANSCRIPT, heard(formats=["json", "srt"]))
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)
    assert "transcript.srt cannot be made" in (status.message or "")


async def test_files_and_response_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(model: str, request_id: str) -> RequestView:
        return GONE

    await bought(world, TRANSCRIPT, SOUND)
    monkeypatch.setattr(world.provider, "poll", gone)
    world.storage.objects = {key: value for key, value in world.storage.files.items() if "/prepared/" in key}
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA))
    assert (status.reason, len(world.provider.posts)) == (Reason.OUTPUTS_DELETED, 1)


async def test_a_loras_file_is_not_read(world: World) -> None:
    await bought(world, IMAGES, DRAWN)
    status = await bought(world, IMAGES, drawn("https://example.com/a.safetensors", "0.80"))
    assert "spec.loras[0].path was not read" in (status.message or "")
    assert RERUN_ANNOTATION in (status.message or "")


async def test_a_trained_lora_counts_by_its_bytes(world: World) -> None:
    def picture(scale: str) -> dict[str, Any]:
        return CAT | {"loras": [{"loraRef": {"name": "it"}, "scale": scale}]}

    lora = UID.replace("0c", "1c", 1)
    await bought(world, LORA, VIDEO, lora)
    await bought(world, IMAGES, picture("0.8"))
    assert (await bought(world, IMAGES, picture("0.80"))).reason == Reason.ADOPTED_SAME_REQUEST
    await bought(world, LORA, trained(steps=500), lora)
    assert (await bought(world, IMAGES, picture("0.800"))).reason == Reason.COMPLETED
    back = await bought(world, IMAGES, picture("0.8"))
    assert (back.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 4)


async def test_rerun_buys_and_finds_its_own(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    again = await bought(world, TRANSCRIPT, heard(sha256=SHA), **{RERUN_ANNOTATION: "x"})
    assert (again.reason, len(world.provider.posts)) == (Reason.COMPLETED, 2)
    same = await bought(world, TRANSCRIPT, heard(formats=["txt"]), **{RERUN_ANNOTATION: "x"})
    assert (same.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 2)
    assert same.run is not None
    assert same.run.purchase_id == (again.run and again.run.purchase_id)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_of_a_resource_before_it(world: World, policy: str) -> None:
    await bought(world, TRANSCRIPT, SOUND | {"deletionPolicy": policy})
    await world.until_gone(TRANSCRIPT)
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA), OTHER)
    wanted = Reason.ADOPTED_SAME_REQUEST if policy == "Retain" else Reason.OUTPUTS_DELETED
    assert (status.reason, len(world.provider.posts)) == (wanted, 1)
    assert world.database["ledger"].find_one()["jobId"] == (OTHER if policy == "Retain" else UID)


async def test_the_new_key_is_found_before_the_free_stage(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    await bought(world, TRANSCRIPT, heard(sha256=SHA))
    await world.until_gone(TRANSCRIPT)
    jobs = world.writes.done.count("job")
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA), OTHER)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)
    assert world.writes.done.count("job") == jobs


async def test_a_discard_applies_to_all_its_keys(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    await bought(world, TRANSCRIPT, heard(sha256=SHA) | {"deletionPolicy": "Delete"})
    await world.until_gone(TRANSCRIPT)
    for uid, spec in ((OTHER, SOUND), (UID.replace("a01", "a03"), heard(sha256=SHA))):
        status = await bought(world, TRANSCRIPT, spec, uid)
        assert (status.reason, len(world.provider.posts)) == (Reason.OUTPUTS_DELETED, 1)
        await world.until_gone(TRANSCRIPT)


async def test_a_lost_ledger_pays_under_none_of_its_keys(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    await bought(world, TRANSCRIPT, heard(sha256=SHA))
    await world.until_gone(TRANSCRIPT)
    world.database["ledger"].delete_many({})
    world.kube.apply(TRANSCRIPT, heard(sha256=SHA), OTHER)
    for _ in range(20):
        await world.reconcile(TRANSCRIPT)
    assert (world.status(TRANSCRIPT).phase, len(world.provider.posts)) == (Phase.SUBMISSION_UNKNOWN, 1)


RESPELLED: dict[str, tuple[Kind, dict[str, Any], dict[str, Any]]] = {
    "transcript": (TRANSCRIPT, SOUND, heard(sha256=SHA)),
    "picture": (IMAGES, CAT, CAT | {"model": "fal-ai/flux-lora"}),
}


async def lose_ledger(world: World, kind: Kind, after: dict[str, Any]) -> list[dict[str, Any]]:
    """Delete the resource and the ledger, and apply another one; returns the lost documents."""
    await world.until_gone(kind)
    lost = list(world.database["ledger"].find())
    world.database["ledger"].delete_many({})
    world.kube.apply(kind, after, OTHER)
    for _ in range(20):
        await world.reconcile(kind)
    return lost


@pytest.mark.parametrize(("kind", "before", "after"), RESPELLED.values(), ids=RESPELLED)
async def test_a_lost_ledger_pays_for_no_new_spelling(
    world: World, kind: Kind, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """The bucket has the content of the purchase; once the ledger is restored, the run goes on with it."""
    await bought(world, kind, before)
    (lost,) = await lose_ledger(world, kind, after)
    assert (world.status(kind).phase, len(world.provider.posts)) == (Phase.SUBMISSION_UNKNOWN, 1)
    world.database["ledger"].insert_one(lost)
    status = await world.finish(kind)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)


SEVERAL: dict[str, tuple[Kind, dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = {
    "failed": (TRANSCRIPT, {"fails": {1}}, [SOUND | {"paidAttempts": 2}], heard(sha256=SHA)),
    "refused": (TRANSCRIPT, {"refuses": Refused("no")}, [SOUND, heard(sha256=SHA)], heard(formats=["txt"])),
    "seeds": (IMAGES, {}, [CAT, CAT | {"image": {"seed": 7}}], CAT | {"model": "fal-ai/flux-lora"}),
}


@pytest.mark.parametrize(("kind", "answers", "before", "after"), SEVERAL.values(), ids=SEVERAL)
async def test_a_restored_ledger_has_several_purchases_of_the_same(
    world: World, kind: Kind, answers: dict[str, Any], before: list[dict[str, Any]], after: dict[str, Any]
) -> None:
    """The run goes on with the best of them, whichever it waited for."""
    for name, answer in answers.items():
        setattr(world.provider, name, answer)
    for spec in before:
        await bought(world, kind, spec)
        world.provider.refuses = None
    posts, lost = len(world.provider.posts), await lose_ledger(world, kind, after)
    assert len(lost) == 2
    assert world.status(kind).phase is Phase.SUBMISSION_UNKNOWN
    world.database["ledger"].insert_many(lost)
    status = await world.finish(kind)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, posts)


@pytest.mark.parametrize(("kind", "before", "after"), RESPELLED.values(), ids=RESPELLED)
async def test_a_resource_that_waits_is_deleted_before_the_restore(
    world: World, kind: Kind, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Its deletion notes the lost purchase in the ledger, under a key of its own."""
    await bought(world, kind, before)
    (lost,) = await lose_ledger(world, kind, after)
    await world.until_gone(kind)
    world.database["ledger"].insert_one(lost)
    status = await bought(world, kind, after, UID.replace("a01", "a03"))
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)


@pytest.mark.parametrize("of", ["namespace", "cluster", "class"])
async def test_a_lost_ledger_pays_for_no_new_spelling_after_a_takeover(world: World, of: str) -> None:
    """The purchase is of a namespace with another uid, which an administrator has mapped, or of another class."""
    await bought(world, IMAGES, CAT)
    mine = {"operatorClass": "b"} if of == "class" else {}
    if of == "class":
        await world.until_gone(IMAGES)
        world.selection = dataclasses.replace(world.selection, operator_class="b")
        world.restart()
        assert (await bought(world, IMAGES, CAT | mine, OTHER)).reason == Reason.ADOPTED_FINISHED_RUN
    elif of == "namespace":
        await recreated(world)
        await bought(world, IMAGES, CAT | {"prompt": "a dog"}, OTHER)  # binds the namespace
        mapped(world)
    else:
        rebuilt(world)
        world.kube.apply(IMAGES, CAT | {"prompt": "a dog"}, OTHER)
        await world.reconcile(IMAGES)
        assert admin(world).confirm("another-cluster")
        await world.finish(IMAGES)
    await world.until_gone(IMAGES)
    posts = len(world.provider.posts)
    world.database["ledger"].delete_many({})
    world.kube.apply(IMAGES, CAT | {"model": "fal-ai/flux-lora"} | mine, UID.replace("a01", "a03"))
    for _ in range(20):
        await world.reconcile(IMAGES)
    assert (world.status(IMAGES).phase, len(world.provider.posts)) == (Phase.SUBMISSION_UNKNOWN, posts)


async def test_another_seed_is_bought_with_a_lost_ledger(world: World) -> None:
    await bought(world, IMAGES, CAT | {"image": {"seed": 1}})
    await world.until_gone(IMAGES)
    world.database["ledger"].delete_many({})
    await bought(world, IMAGES, CAT | {"image": {"seed": 2}}, OTHER)
    assert len(world.provider.posts) == 2


async def test_an_open_request_is_waited_for(world: World) -> None:
    world.provider.running, world.provider.cancels = {1}, False
    first = await bought(world, IMAGES, CAT | {"deadlineSeconds": 600})
    assert (first.reason, first.run and first.run.request_open) == (Reason.DEADLINE_EXCEEDED, True)
    world.kube.apply(IMAGES, CAT | {"model": "fal-ai/flux-lora"})
    while world.status(IMAGES).phase is not Phase.PROCESSING:
        await world.reconcile(IMAGES)
    world.provider.running = set()
    status = await world.finish(IMAGES)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)


@pytest.mark.parametrize("until", ["AwaitingApproval", "planned"])
async def test_compared_again_before_the_payment(world: World, until: str) -> None:
    """A purchase that becomes known while the run waits, or after it was planned."""
    await bought(world, TRANSCRIPT, SOUND)
    ledger = world.database["ledger"]
    content = ledger.find_one()["content"]
    ledger.update_one({}, {"$set": {"content": []}})
    approval = {"approval": "Manual"} if until == "AwaitingApproval" else {}
    world.kube.apply(TRANSCRIPT, heard(sha256=SHA) | approval)
    while not (world.status(TRANSCRIPT).reason == until or ledger.count_documents({"sendState": until})):
        await world.reconcile(TRANSCRIPT)
    ledger.update_one({"state": "collected"}, {"$set": {"content": content}})
    status = await world.finish(TRANSCRIPT)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)
    assert ledger.count_documents({"sendState": "planned"}) == 0


async def test_a_lost_reply_is_searched(world: World) -> None:
    """The search has the input as it was sent, also if the edit has another signature and no seed."""
    world.provider.lose_replies = {1}
    before = drawn("https://example.com/a.safetensors" + SIGNED.format(1)) | {"image": {"seed": 7}}
    world.kube.apply(IMAGES, before)
    while not world.provider.posts:
        await world.reconcile(IMAGES)
    world.kube.delete(IMAGES, world.now)
    world.kube.resources.clear()
    status = await bought(world, IMAGES, drawn("https://example.com/a.safetensors" + SIGNED.format(2)), OTHER)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)


@pytest.mark.parametrize(("attempts", "posts", "reason"), [(1, 1, "ProviderFailed"), (2, 2, "Completed")])
async def test_a_failed_one_counts_under_paid_attempts(world: World, attempts: int, posts: int, reason: str) -> None:
    world.provider.fails = {1}
    await bought(world, TRANSCRIPT, SOUND)
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA) | {"paidAttempts": attempts})
    assert (status.reason, len(world.provider.posts)) == (reason, posts)


async def test_a_refused_one_counts_as_nothing(world: World) -> None:
    world.provider.refuses = Refused("no")
    await bought(world, TRANSCRIPT, SOUND)
    world.provider.refuses = None
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA))
    assert (status.reason, len(world.provider.posts)) == (Reason.COMPLETED, 1)


async def test_a_cancelled_one_ends_as_for_the_same_key(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    world.database["ledger"].update_one({}, {"$set": {"state": "cancelled"}})
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA))
    assert (status.reason, len(world.provider.posts)) == (Reason.CANCELLED, 1)


async def test_neither_key_bucket_approval_nor_budget_hold_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    world.decision_settings = DecisionSettings(
        poll_seconds=300, approval_required=True, unreachable_for=frozenset({"assemblyai"})
    )
    world.provider.configured = False
    world.restart()

    async def unavailable() -> None:
        raise AssertionError("asked for the bucket of a payment")

    monkeypatch.setattr(world.storage, "require_bucket", unavailable)
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA))
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)


async def test_estimate_says_0_and_why(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA) | {"dryRun": "Estimate"})
    assert status.cost is not None
    assert (status.reason, status.cost.estimated, len(world.provider.posts)) == (Reason.ESTIMATED, "0.00", 1)
    assert "was bought before" in (status.message or "")
    paid = await bought(world, TRANSCRIPT, heard(sha256=SHA))
    assert (paid.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 1)


async def test_a_purchase_of_another_account_or_class(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    ledger = world.database["ledger"]
    ledger.update_one({}, {"$set": {"account": "other"}})
    assert (await bought(world, TRANSCRIPT, heard(sha256=SHA))).reason == Reason.ADOPTED_SAME_REQUEST
    ledger.update_one({}, {"$set": {"operatorClass": "another"}})
    assert (await bought(world, TRANSCRIPT, heard(formats=["txt"]))).reason == Reason.COMPLETED
    assert len(world.provider.posts) == 2


async def test_a_namespace_created_again_finds_nothing(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    await world.until_gone(TRANSCRIPT)
    world.kube.namespaces["ns"] = ("two", f"{world.now:%Y-%m-%dT%H:%M:%SZ}")
    status = await bought(world, TRANSCRIPT, heard(sha256=SHA), OTHER)
    assert (status.reason, len(world.provider.posts)) == (Reason.COMPLETED, 2)


@pytest.mark.parametrize("model", [None, "fal-ai/flux-lora-fast-training"])
async def test_a_learning_rate_that_is_not_sent_is_refused(world: World, model: str | None) -> None:
    await bought(world, LORA, VIDEO)
    training = {"learningRate": "0.001"} | ({"model": model} if model else {})
    status = await bought(world, LORA, trained(**training))
    assert (status.reason, len(world.provider.posts)) == (Reason.INVALID_SPEC, 1)
    assert KREA in (status.message or "")


async def test_a_forged_same_request_changes_nothing(world: World) -> None:
    await bought(world, TRANSCRIPT, SOUND)
    await bought(world, TRANSCRIPT, heard(language="de"))
    kept = world.kube.resources[TRANSCRIPT, "it"]["status"]["run"]
    forged = {"runHash": "0" * 16, "purchaseId": "x"}
    kept["sameAs"] = forged
    status = await bought(world, TRANSCRIPT, heard(language="de", sha256=SHA))
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 2)


async def finished(world: World, kind: Kind, spec: dict[str, Any], **annotations: str) -> ResourceStatus:
    """The status once nothing more follows from a manifest."""
    world.kube.apply(kind, spec, **annotations)
    body = world.kube.resources[kind, "it"]
    for _ in range(100):
        await world.reconcile(kind)
        if is_finished(body):
            return world.status(kind)
    raise AssertionError(world.status(kind))


def query(chance: random.Random, *content: str) -> str:
    """A query with these parameters and some signature."""
    signature = chance.choice(
        ["", f"X-Amz-Date={chance.random()}&X-Amz-Signature=a", "X-Goog-Signature=b&x-goog-date=1"]
    )
    given = [*filter(None, content), *filter(None, [signature])]
    return "?" + "&".join(given) if given else ""


async def test_random_transcriptions_pay_once_for_each_request(world: World) -> None:
    """POSTs = distinct canonical requests and reruns, over edits back and forth."""
    chance = random.Random(30)  # noqa: S311 - the same edits each time
    requests = set[Any]()
    for _ in range(40):
        language, path, rerun = chance.choice(["auto", "de"]), chance.choice("ab"), chance.choice(["", "", "x"])
        options = chance.choice([{}, {"speakerLabels": True}]) | ({"language": language} if language == "de" else {})
        if chance.random() < 0.5:
            options["formats"] = chance.sample(["json", "txt", "srt", "vtt"], chance.randint(1, 4))
        source = {"url": f"https://example.com/{path}.mp3{query(chance)}"} | chance.choice([{}, {"sha256": SHA}])
        before = world.kube.resources.get((TRANSCRIPT, "it"), {}).get("spec")
        spec = {"source": source, "options": options}
        status = await finished(world, TRANSCRIPT, spec, **({RERUN_ANNOTATION: rerun} if rerun else {}))
        assert status.run is not None
        if before != spec or rerun:
            requests.add((language, path, status.run.rerun))
        assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, len(requests)), spec


async def test_random_images_pay_once_for_each_request(world: World) -> None:
    chance = random.Random(31)  # noqa: S311 - the same edits each time
    requests = set[Any]()
    for _ in range(40):
        scale, path, version = chance.choice(["0.8", "0.9"]), chance.choice("ab"), chance.choice(["", "versionId=2"])
        spec = drawn(f"https://example.com/{path}{query(chance, version)}", scale + chance.choice(["", "0", "00"]))
        status = await finished(world, IMAGES, spec | {"model": chance.choice(["flux-lora", "fal-ai/flux-lora"])})
        requests.add((scale, path, version))
        assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, len(requests)), spec
