"""LoRA identity in an image's purchase key: a purchase with an older training does not satisfy a later run."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_contract.patterns import LORA_IDENTITY
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.resources.status import ResourceStatus, RunStatus, dump_status
from contentgen_gateway.migration.namespaces import TenantAdministration
from contentgen_operator.decide.lora_identity import identity, may_be_drawn_with, wanted_purchase
from contentgen_operator.orphans.following import FollowState, follow_state
from contentgen_operator.providers.base import Busy
from contentgen_operator.state.observed import LoraView, Resource, WantedPurchase
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState, SendState, StoredKey, Variant
from contentgen_operator.state.runs import purchase_key
from contentgen_runtime.tenancy import SYSTEM
from contentgen_simulation.world import SPECS, UID, World

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
FIRST, SECOND = SPECS[LORA], SPECS[LORA] | {"training": {"steps": 500}}
PICTURE = {"prompt": "jf on a bench", "loras": [{"loraRef": {"name": "it"}}]}
DOG = PICTURE | {"prompt": "jf and a dog"}
LORA_UID, OTHER_LORA_UID, OTHER_UID, THIRD_UID = (f"1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a0{n}" for n in range(4))


async def trained(world: World, spec: dict[str, Any], uid: str = LORA_UID) -> None:
    """Apply a LoraTraining with this spec and finish it."""
    world.kube.apply(LORA, spec, uid)
    await ended(world, LORA)


async def drawn(world: World, uid: str = UID, spec: dict[str, Any] = PICTURE) -> ResourceStatus:
    """Apply an ImageGeneration with this spec and finish it."""
    world.kube.apply(IMAGES, spec, uid)
    return await ended(world, IMAGES)


async def ended(world: World, kind: Kind) -> ResourceStatus:
    await world.reconcile(kind)  # begins the run of an edit
    return await world.finish(kind)


def lora_of(world: World, post: int) -> str:
    """The LoRA's file in a request: its job's uid and the file's version."""
    (lora,) = world.provider.posts[post - 1].arguments["loras"]
    _, _, key = str(lora["path"]).partition("/loras/")
    _, job, version, _ = key.partition("?")[0].split("/")
    return f"{job} {version}"


def purchases(world: World) -> list[dict[str, Any]]:
    found = world.database["ledger"].find({"type": IMAGES.record_type})
    return sorted(found, key=lambda each: str(each["createdAt"]))


async def test_image_applied_again_uses_the_retrained_lora(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await world.until_gone(IMAGES)
    await trained(world, SECOND)
    status = await drawn(world, OTHER_UID)
    assert (status.phase, status.reason, len(world.provider.posts)) == (Phase.COMPLETED, "Completed", 4)
    assert (lora_of(world, 2), lora_of(world, 4)) == (f"{LORA_UID} v1", f"{LORA_UID} v2")
    await world.until_gone(IMAGES)
    status = await drawn(world, THIRD_UID)
    assert (status.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 4)


async def test_rebuilt_cluster_adopts_finished_images(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await trained(world, SECOND)
    stamp = f"{world.now:%Y-%m-%dT%H:%M:%SZ}"
    world.kube.namespaces = {SYSTEM: ("rebuilt", stamp), "ns": ("its-namespace", stamp)}
    world.kube.resources.clear()
    world.kube.jobs.clear()
    world.restart()
    world.kube.apply(LORA, SECOND, OTHER_LORA_UID)
    await world.reconcile(LORA)
    assert TenantAdministration(world.database, "ann").confirm("rebuilt", force=True)
    assert (await ended(world, LORA)).reason == "AdoptedFinishedRun"
    assert ((await drawn(world, OTHER_UID)).reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 3)
    await world.until_gone(IMAGES)
    again = await drawn(world, THIRD_UID)
    assert (again.reason, len(world.provider.posts), lora_of(world, 4)) == ("Completed", 4, f"{LORA_UID} v2")


async def test_an_edit_and_its_reversal_buy_again_after_a_training(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await drawn(world, spec=DOG)
    await trained(world, SECOND)
    status = await drawn(world)
    assert (status.phase, len(world.provider.posts), lora_of(world, 5)) == (Phase.COMPLETED, 5, f"{LORA_UID} v2")


async def test_without_another_training_the_pictures_are_adopted(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await drawn(world, spec=DOG)
    assert (await drawn(world)).reason == "AdoptedFinishedRun"
    await world.until_gone(IMAGES)
    await world.until_gone(LORA)
    await trained(world, FIRST, OTHER_LORA_UID)
    assert (await drawn(world, OTHER_UID)).reason == "AdoptedFinishedRun"
    assert len(world.provider.posts) == 3


async def test_first_training_applied_again_restores_its_images(world: World) -> None:
    await trained(world, FIRST)
    first = await drawn(world)
    await trained(world, SECOND)
    await drawn(world, spec=DOG)
    await drawn(world)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    await trained(world, FIRST, OTHER_LORA_UID)
    again = await drawn(world, OTHER_UID)
    assert (again.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 5)
    assert [file.key for file in again.versions[0].files] == [file.key for file in first.versions[0].files]


async def test_retrained_lora_starts_no_finished_image(world: World) -> None:
    await trained(world, FIRST)
    before = await drawn(world)
    await trained(world, SECOND)
    world.restart()
    for _ in range(5):
        await world.reconcile(IMAGES)
    assert (world.status(IMAGES), len(world.provider.posts)) == (before, 3)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_run_under_way_goes_on_with_its_purchase(world: World, lost: bool) -> None:
    await trained(world, FIRST)
    world.kube.apply(IMAGES, PICTURE)
    world.provider.lose_replies = {2} if lost else set()
    while not purchases(world) or (purchases(world)[0]["state"] == "intent" and len(world.provider.posts) < 2):
        await world.reconcile(IMAGES)
    await trained(world, SECOND)
    world.restart()
    status = await world.finish(IMAGES)
    assert (status.phase, len(world.provider.posts), len(purchases(world))) == (Phase.COMPLETED, 3, 1)


async def test_a_run_goes_on_with_a_purchase_that_it_has_adopted(world: World) -> None:
    await trained(world, FIRST)
    world.kube.apply(IMAGES, PICTURE)
    while not purchases(world) or purchases(world)[0]["state"] != "submitted":
        await world.reconcile(IMAGES)
    del world.kube.resources[IMAGES, "it"]
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    while purchases(world)[0]["jobId"] != OTHER_UID:
        await world.reconcile(IMAGES)
    await trained(world, SECOND)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert (len(world.provider.posts), len(purchases(world))) == (3, 1)


async def test_the_next_attempt_of_a_run_has_the_lora_of_the_first(world: World) -> None:
    await trained(world, FIRST)
    world.provider.fails = {2}
    world.kube.apply(IMAGES, PICTURE | {"paidAttempts": 2})
    while not purchases(world) or purchases(world)[0]["state"] != "failed":
        await world.reconcile(IMAGES)
    await trained(world, SECOND)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert (lora_of(world, 2), lora_of(world, 4)) == (f"{LORA_UID} v1", f"{LORA_UID} v1")


async def test_the_lora_is_awaited_while_it_is_trained_again(world: World) -> None:
    """Both resources are applied again; pictures of the earlier training do not match the new request."""
    await trained(world, FIRST)
    await drawn(world)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    await world.reconcile(IMAGES)
    world.kube.apply(LORA, SECOND, OTHER_LORA_UID)
    for _ in range(8):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == "WaitingForLora"
    assert world.status(IMAGES).run.purchase_id is None  # type: ignore[union-attr]
    await ended(world, LORA)
    assert (await world.finish(IMAGES)).reason == "Completed"
    assert lora_of(world, 4) == f"{OTHER_LORA_UID} v1"


@pytest.mark.parametrize("retrained", [False, True])
async def test_without_its_lora_the_newest_pictures_are_adopted(world: World, retrained: bool) -> None:
    await trained(world, FIRST)
    newest = await drawn(world)
    if retrained:
        await trained(world, SECOND)
        await drawn(world, spec=DOG)
        newest = await drawn(world)
    posts = len(world.provider.posts)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    status = await drawn(world, OTHER_UID)
    assert (status.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", posts)
    assert status.versions[0].files == newest.versions[-1].files


async def test_refused_request_is_sent_with_the_newest_lora(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await world.until_gone(IMAGES)
    await trained(world, SECOND)
    world.provider.refuses = Busy("too many requests")
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    for _ in range(8):
        await world.reconcile(IMAGES)
    world.provider.refuses = None
    await trained(world, FIRST | {"training": {"steps": 700}})
    status = await world.finish(IMAGES)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 5)
    assert lora_of(world, 5) == f"{LORA_UID} v3"


async def test_a_training_collected_again_is_the_same(world: World) -> None:
    """Lost files are stored again from the kept response, under another job."""
    await trained(world, FIRST)
    await drawn(world)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    for key in [each_key for each_key in world.storage.objects if each_key.startswith("loras/")]:
        del world.storage.objects[key]
    await trained(world, FIRST, OTHER_LORA_UID)
    assert any(stored_object.startswith(f"loras/ns/{OTHER_LORA_UID}/") for stored_object in world.storage.objects)
    assert (await drawn(world, OTHER_UID)).reason == "AdoptedFinishedRun"
    assert len(world.provider.posts) == 2


async def test_failed_lora_does_not_hold_back_bought_images(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    world.provider.fails = {3}
    await trained(world, SECOND, OTHER_LORA_UID)
    assert world.status(LORA).phase is Phase.FAILED
    assert (await drawn(world, OTHER_UID)).reason == "AdoptedFinishedRun"


@pytest.mark.parametrize("point", range(23))
async def test_a_crash_while_the_key_changes_buys_once(point: int, world: World) -> None:
    """The operator crashes at each write before the purchase becomes `sending`."""
    await trained(world, FIRST)
    await drawn(world)
    await world.until_gone(IMAGES)
    await trained(world, SECOND)
    world.writes._points = (2 * len(world.writes.done) + point,)
    status = await drawn(world, OTHER_UID)
    await world.recover(IMAGES)
    assert world.writes.fired
    assert (status.phase, lora_of(world, 4)) == (Phase.COMPLETED, f"{LORA_UID} v2")
    assert len(world.provider.posts) == 4


# Forged identities


async def test_a_forged_identity_in_a_status_is_the_documents_again(world: World) -> None:
    await trained(world, FIRST)
    world.kube.apply(IMAGES, PICTURE)
    while not purchases(world) or purchases(world)[0]["state"] != "submitted":
        await world.reconcile(IMAGES)
    world.kube.resources[IMAGES, "it"]["status"]["run"]["loraIdentity"] = "0" * 16
    status = await world.finish(IMAGES)
    assert status.run is not None
    assert (status.run.lora_identity, len(world.provider.posts)) == (None, 2)


async def test_forged_identity_without_a_document_is_ignored(world: World) -> None:
    """The status is the only source after a restore of MongoDB."""
    await trained(world, FIRST)
    await drawn(world)
    await trained(world, SECOND)
    await drawn(world, spec=DOG)
    await drawn(world)
    (bought,) = (purchase for purchase in purchases(world) if "." in purchase["_id"])
    identity = bought["_id"].split("/")[3].partition(".")[2]
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    forged = world.kube.resources[IMAGES, "it"]
    forged["status"] = dump_status(ResourceStatus(phase=Phase.PENDING, run=run_of(forged, identity)))
    await world.until_gone(LORA)
    await trained(world, FIRST, OTHER_LORA_UID)
    verifier = world.process.observer.verifier
    resource = Resource.parse(IMAGES, forged)
    assert resource.status.run is not None
    assert (await verifier._run(resource, resource.status.run)).lora_identity is None
    owner = resource.model_copy(update={"ref": resource.ref.model_copy(update={"uid": bought["jobId"]})})
    assert (await verifier._run(owner, resource.status.run)).lora_identity == identity


def run_of(body: dict[str, Any], identity: str) -> RunStatus:
    return RunStatus(
        number=1,
        version=1,
        run_hash=run_hash(IMAGES, parse_spec(IMAGES, body["spec"])),
        generation=1,
        spec=body["spec"],
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        lora_identity=identity,
    )


async def test_variants_of_an_image_are_its_attempts_with_any_lora(world: World) -> None:
    ledger, documents = world.process.observer.ledger, world.database["ledger"]
    key = PurchaseKey(namespace="ns", kind=IMAGES, name="it", run_hash="ab", rerun=None, attempt=1)
    pinned = key.model_copy(update={"run_hash": f"ab.{'0' * 16}"})
    later = key.model_copy(update={"attempt": 12})
    others = [{"rerun": "x"}, {"run_hash": "abc"}, {"run_hash": "aa"}, {"name": "it2"}, {"namespace": "ns2"}]
    for each in (pinned, later, key, *(key.model_copy(update=other) for other in others)):
        documents.insert_one(purchase(str(each)).model_dump(by_alias=True) | {"_id": str(each)})
    for asked in (key, pinned, later):
        found = [(variant.identity, variant.purchase.purchase_id) for variant in await ledger.variants(asked)]
        assert found == [("0" * 16, str(pinned)), ("", str(key)), ("", str(later))]


# Purchases of deleted resources


@pytest.mark.parametrize("owner", [UID, OTHER_UID])
@pytest.mark.parametrize(
    ("reason", "prompt", "identity", "standing"),
    [
        ("Submitting", "jf on a bench", "", FollowState.FOLLOWED),
        ("Submitting", "jf on a bench", ".0123456789abcdef", FollowState.ENDED),
        ("WaitingForLora", "jf on a bench", "", FollowState.ENDED),
        ("WaitingForLora", "jf on a bench", ".0123456789abcdef", FollowState.ENDED),
        ("LoraFailed", "jf on a bench", ".0123456789abcdef", FollowState.ENDED),
        ("WaitingForLora", "a dog", "", FollowState.GONE),
    ],
)
def test_possible_requests_of_a_waiting_image_are_searched(
    reason: str, prompt: str, identity: str, standing: FollowState, owner: str
) -> None:
    """The image adopts the purchase only if its LoRA is of the same training; until then nothing discards it."""
    body = an_image(reason)
    bought = run_of({"spec": PICTURE | {"prompt": prompt}}, "0" * 16).run_hash
    key = StoredKey.parse(f"ns/ImageGeneration/it/{bought}{identity}/-/1")
    submitted = purchase("o", owner, state=PurchaseState.SUBMITTED)
    expected = FollowState.ENDED if owner == OTHER_UID and standing is FollowState.GONE else standing
    assert follow_state(body, Tenant(), key, submitted, NOW) is expected


def test_an_image_that_has_a_purchase_asks_for_no_other() -> None:
    body = an_image("Submitting", purchase_id="its own")
    key = StoredKey.parse(f"ns/ImageGeneration/it/{run_of(body, '0' * 16).run_hash}.0123456789abcdef/-/1")
    assert follow_state(body, Tenant(), key, purchase("o", UID, state=PurchaseState.SUBMITTED), NOW) is FollowState.GONE


def an_image(reason: str, **run: Any) -> dict[str, Any]:
    meta = {
        "name": "it",
        "namespace": "ns",
        "uid": OTHER_UID,
        "resourceVersion": "1",
        "creationTimestamp": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
    }
    body: dict[str, Any] = {"metadata": meta, "spec": PICTURE}
    last = run_of(body, "0" * 16).model_copy(update={"lora_identity": None} | run)
    return body | {"status": dump_status(ResourceStatus(phase=Phase.PENDING, reason=reason, run=last))}


# Decision


def training(name: str, *files: str, owner: str = "j") -> Purchase:
    return purchase(f"p-{name}", owner, outputs={"files": [{"key": file} for file in files]})


def purchase(purchase_id: str, owner: str = "j", **given: Any) -> Purchase:
    values = {
        "state": PurchaseState.COLLECTED,
        "provider": "fal",
        "model": "m",
        "correlation_key": "x",
        "created_at": NOW,
    }
    return Purchase(purchase_id=purchase_id, job_id=owner, changed_at=NOW, **(values | given))


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
V1, V2, ELSEWHERE = (f"loras/u/{path}/model.safetensors" for path in ("j/v1", "j/v2", "k/v1"))
ONE, TWO = training("1", V1), training("2", V2)


def view(key: str | None, *trainings: Purchase, **given: Any) -> LoraView:
    return LoraView(name="it", model_key=key, trainings=trainings, **{"phase": Phase.COMPLETED} | given)


@pytest.mark.parametrize(
    ("files", "loras", "maybe"),
    [
        ((V1,), (view(V1, ONE, TWO),), True),
        ((V1,), (view(V2, ONE, TWO),), False),
        ((V1, V1), (view(V1, ONE), view(V1, ONE)), True),
        ((V1, V1), (view(V1, ONE, TWO), view(V2, ONE, TWO)), False),
        ((), (view(V2, TWO),), True),  # unknown in the ledger
        ((V1,), (view(V2, TWO),), True),  # file of the same job, collected again since
        ((V1,), (view(ELSEWHERE, training("3", ELSEWHERE, owner="k")),), False),
        (("odd",), (view(V2, TWO),), True),
    ],
)
def test_trainings_that_an_image_may_use(files: tuple[str, ...], loras: tuple[LoraView, ...], maybe: bool) -> None:
    assert may_be_drawn_with(purchase("i", loras=files), loras) is maybe


def test_the_identity_is_of_the_purchases_in_their_order() -> None:
    first, second = view(V1, ONE, TWO), view(V2, ONE, TWO)
    assert identity((first, second)) != identity((second, first))
    assert identity((first,)) == identity((view(V1, training("1", ELSEWHERE, V1, owner="k")),))
    assert identity((first, view(None, ONE))) is None
    assert re.fullmatch(LORA_IDENTITY, identity((first,)) or "")


MINE = identity((view(V2, ONE, TWO),)) or ""
OLD, NEW = purchase("o", loras=(V1,)), purchase("n", loras=(V2,), created_at=NOW + timedelta(hours=1))
PLANNED = purchase("q", loras=(V1,), state=PurchaseState.INTENT, send_state=SendState.PLANNED)


def as_variants(found: list[tuple[str, Purchase]]) -> list[Variant]:
    return [Variant(scope="", identity=of, purchase=each) for of, each in found]


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ([], None),
        ([("", PLANNED)], None),
        ([("", OLD)], MINE),
        ([("", NEW)], None),
        ([("", OLD), ("", NEW)], None),  # attempts with another training each
        ([("", PLANNED), (MINE, NEW)], MINE),
        ([("", OLD), ("f" * 16, OLD)], MINE),
    ],
)
def test_the_purchase_that_is_asked_for(variants: list[tuple[str, Purchase]], expected: str | None) -> None:
    run = run_of({"spec": PICTURE}, "0" * 16)
    assert wanted_purchase(run, (view(V2, ONE, TWO),), as_variants(variants), NOW).identity == expected


@pytest.mark.parametrize(
    ("lora", "age", "expected"),
    [
        (view(None, phase=None), 59, WantedPurchase(identity="0" * 16, waits=True)),
        (view(None, phase=None), 61, WantedPurchase(identity=MINE)),
        (view(None, phase=Phase.PROCESSING), 9000, WantedPurchase(identity="0" * 16, waits=True)),
        (view(None, phase=Phase.FAILED), 1, WantedPurchase(identity=MINE)),
    ],
)
def test_a_lora_without_a_file(lora: LoraView, age: int, expected: WantedPurchase) -> None:
    run = run_of({"spec": PICTURE}, "0" * 16)
    found = wanted_purchase(
        run, (lora,), as_variants([("", OLD), (MINE, NEW)]), run.started_at + timedelta(seconds=age)
    )
    assert (found.identity, found.waits) == (expected.identity, expected.waits)


def test_the_key_has_the_identity_after_the_hash() -> None:
    run = run_of({"spec": PICTURE}, "0" * 16)
    meta = {
        "name": "it",
        "namespace": "ns",
        "uid": UID,
        "resourceVersion": "1",
        "creationTimestamp": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
    }
    resource = Resource.parse(IMAGES, {"metadata": meta, "spec": PICTURE})
    plain = purchase_key(resource, run.model_copy(update={"lora_identity": None}))
    assert str(plain) == "ns/ImageGeneration/it/2f9642154c368e50/-/1"
    assert str(purchase_key(resource, run)) == "ns/ImageGeneration/it/2f9642154c368e50.0000000000000000/-/1"
