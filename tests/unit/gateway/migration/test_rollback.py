"""Rollback to a5a1c84 after `contentgen prepare-rollback`, with a purchase in each state, and the upgrade after it."""

import copy
import io
import re
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mongomock
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from contentgen_contract.names import ACCOUNT_LABEL, APPROVAL_LABEL, Kind
from contentgen_contract.records import keys
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_gateway.migration import commands, rollback_stores
from contentgen_gateway.migration.rollback import (
    ANNOTATION,
    OLD_REASONS,
    SAVED,
    Finding,
    FindingAction,
    OldRun,
    Rollback,
    key_of,
    recent_status_write,
)
from contentgen_operator.state.purchases import PurchaseKey
from contentgen_runtime.kube import Page
from contentgen_simulation.upgrade.driver import Driver
from contentgen_simulation.upgrade.release import ARCHIVES, OLD, OldRelease
from contentgen_simulation.upgrade.states import (
    SECOND,
    StateCase,
    cases,
    ids,
    lora_states,
    new_states,
    old_states,
    retrained_states,
)
from contentgen_simulation.world import SPECS, UID

Body = dict[str, Any]
# "ended after intend" is left out: nothing was sent, and the state "planned" covers it.
BOTH = (*cases(new_states), *cases(old_states))
LORA = (*lora_states(new_states), *lora_states(old_states), *retrained_states())
CASES = [
    (kind, state)
    for kind, state in (*BOTH, *((Kind.IMAGE_GENERATION, each) for each in LORA))
    if not state.name.startswith("ended after intend")
]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldRelease]:
    with OldRelease(OLD, tmp_path_factory.mktemp("release")) as release:
        yield release


def rollback_of(driver: Driver, *, dry: bool = False) -> Rollback:
    async def patch(_: Kind, body: Body, change: Body) -> None:
        assert change["metadata"].pop("resourceVersion") == body["metadata"]["resourceVersion"]
        driver.patch(change)

    def marker_of(key: str) -> str | None:
        marker = driver.world.storage.objects.get(keys.purchase_marker(key))
        return str(marker["purchaseId"]) if marker is not None else None

    return Rollback(driver.world.database, marker_of, patch, dry=dry)


def resources(driver: Driver) -> list[tuple[Kind, Body]]:
    return [(kind, body) for (kind, _), body in driver.world.kube.resources.items()]


async def prepare(driver: Driver) -> list[Finding]:
    return await rollback_of(driver).prepare(resources(driver), driver.world.now)


@pytest.mark.parametrize(("kind", "state"), CASES, ids=ids(CASES))
async def test_a_rollback_and_the_next_upgrade_buy_nothing_again(
    kind: Kind, state: StateCase, old: OldRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Driver(kind, monkeypatch)
    await new.do(state.before)
    await prepare(new)
    left = new.dump()
    back = old.run(kind, left, [*state.after, ["step"], ["finish"]])
    assert_end(kind, back, state.phase, state.posts)
    assert_kept(left, back)
    again = Driver(kind, monkeypatch, back)
    await rollback_of(again).undo(resources(again))
    await again.do([["step", 3], ["finish"]])
    assert_end(kind, again.dump(), state.resumed or state.phase, state.posts)
    assert_kept(left, again.dump())


HARMED = [(kind, state) for kind, state in CASES if state.unprepared is not None]


@pytest.mark.parametrize(("kind", "state"), HARMED, ids=ids(HARMED))
async def test_without_preparation_a5a1c84_buys_again(
    kind: Kind, state: StateCase, old: OldRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Driver(kind, monkeypatch)
    await new.do(state.before)
    back = old.run(kind, new.dump(), [*state.after, ["step"], ["finish"]])
    assert len(back["posts"]) == state.unprepared


def assert_end(kind: Kind, world: Body, phase: str, posts: int) -> None:
    (body,) = (body for of, _, body in world["resources"] if of == kind)
    assert (len(world["posts"]), body["status"]["phase"]) == (posts, phase), body["status"]


def assert_kept(left: Body, now: Body) -> None:
    kept = {key: value for key, value in left["objects"].items() if not key.startswith(("runs/", "datasets/"))}
    assert {key: now["objects"].get(key) for key in kept} == kept


# Findings


def body_of(spec: Body, status: Body | None = None, **meta: Any) -> Body:
    about = {"name": "it", "namespace": "ns", "uid": UID, "generation": 1, "resourceVersion": "1", "annotations": {}}
    return {"metadata": about | meta, "spec": spec, "status": status or {}}


def status_of(spec: Body, phase: str, reason: str, **run: Any) -> Body:
    kind = Kind.TRANSCRIPTION if "source" in spec and "loraName" not in spec else Kind.LORA_TRAINING
    kind = Kind.IMAGE_GENERATION if "prompt" in spec else kind
    of = {"number": 1, "version": 1, "runHash": run_hash(kind, parse_spec(kind, spec)), "generation": 1, "spec": spec}
    return {"phase": phase, "reason": reason, "run": of | {"startedAt": "2026-11-21T00:00:00Z"} | run}


PICTURE, TRAINING, SOUND = (SPECS[kind] for kind in (Kind.IMAGE_GENERATION, Kind.LORA_TRAINING, Kind.TRANSCRIPTION))
CAPITALS = {"source": {"url": "HTTPS://example.com/talk.mp3"}}
FOUND: dict[str, tuple[Kind, Body, FindingAction | None]] = {
    "not begun": (Kind.IMAGE_GENERATION, body_of(PICTURE), None),
    "ended": (Kind.IMAGE_GENERATION, body_of(PICTURE, status_of(PICTURE, "Completed", "Completed")), None),
    "deleted": (
        Kind.IMAGE_GENERATION,
        body_of(PICTURE, status_of(PICTURE, "Pending", "ModelNotAllowed"), deletionTimestamp="2026-11-21T00:00:00Z"),
        None,
    ),
    "a model that is not allowed": (
        Kind.IMAGE_GENERATION,
        body_of(PICTURE, status_of(PICTURE, "Pending", "ModelNotAllowed")),
        FindingAction.SUSPEND,
    ),
    "a loraName that another one has": (
        Kind.LORA_TRAINING,
        body_of(TRAINING, status_of(TRAINING, "Pending", "WaitingForLoraName")),
        FindingAction.SUSPEND,
    ),
    "a collect Job that would be refused": (
        Kind.IMAGE_GENERATION,
        body_of(PICTURE, status_of(PICTURE, "Pending", "JobRefused")),
        FindingAction.SUSPEND,
    ),
    "another loraName": (
        Kind.LORA_TRAINING,
        body_of(TRAINING | {"loraName": "mary"}, status_of(TRAINING, "Completed", "Completed"), generation=2),
        FindingAction.SUSPEND,
    ),
    "tags were edited": (
        Kind.LORA_TRAINING,
        body_of(TRAINING | {"metadata": {"tags": ["x"]}}, status_of(TRAINING, "Completed", "Completed"), generation=2),
        None,
    ),
    "a worker said InvalidSpec": (
        Kind.TRANSCRIPTION,
        body_of(SOUND, status_of(SOUND, "Failed", "InvalidSpec")),
        FindingAction.SUSPEND,
    ),
    "a spec that a5a1c84 refuses": (Kind.TRANSCRIPTION, body_of(CAPITALS), FindingAction.SUSPEND),
    "a language that a5a1c84 refuses": (
        Kind.TRANSCRIPTION,
        body_of(SOUND | {"options": {"language": "en-US"}}),
        FindingAction.SUSPEND,
    ),
    "the default language, which the API server stores": (
        Kind.TRANSCRIPTION,
        body_of(SOUND | {"options": {"language": "auto"}}),
        None,
    ),
    "a purchase that the status names, and nobody has": (
        Kind.IMAGE_GENERATION,
        body_of(PICTURE, status_of(PICTURE, "Submitting", "Submitting", purchaseId="0190a")),
        FindingAction.LEDGER,
    ),
}


@pytest.mark.parametrize("name", FOUND)
async def test_findings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, body, action = FOUND[name]
    driver = Driver(kind, monkeypatch)
    driver.world.kube.resources[kind, "it"] = body
    findings = await prepare(driver)
    assert [each.action for each in findings] == ([action] if action else [])
    assert (body["spec"].get("suspend") is True) is (action is FindingAction.SUSPEND)


async def test_what_a5a1c84_cannot_read_while_it_is_paid_is_left_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Kind.TRANSCRIPTION, monkeypatch)
    await driver.do([["apply", CAPITALS], ["state", "submitted"]])
    assert [each.action for each in await prepare(driver)] == [FindingAction.WAIT]


@pytest.mark.parametrize(
    ("collection", "document"),
    [
        ("ledger", {"_id": "ns@1234/Transcription/x/ab/-/1", "state": "collected"}),
        ("namespaces", {"_id": "a-cluster/ns", "uid": "1234", "scope": "1234"}),
    ],
)
async def test_a_namespace_that_was_created_again_is_suspended(
    collection: str, document: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    driver.apply(PICTURE)
    driver.world.database[collection].insert_one(document)
    assert [each.action for each in await prepare(driver)] == [FindingAction.SUSPEND]


async def test_of_a_first_namespace_nothing_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    driver.apply(PICTURE)
    bindings = [("a-cluster/ns", ""), ("a-cluster/another-ns", "1234"), ("a-cluster/ns-2", "1234")]
    driver.world.database["namespaces"].insert_many({"_id": each, "scope": scope} for each, scope in bindings)
    assert await prepare(driver) == []


@pytest.mark.parametrize("owner", [UID, SECOND])
async def test_a_deletion_that_would_take_anothers_files_waits(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    await driver.do([["apply", PICTURE], ["finish"]])
    database = driver.world.database
    database["ledger"].update_many({}, {"$set": {"jobId": owner}})
    prefixes = sorted(keys.job_prefixes(Kind.IMAGE_GENERATION, "ns", UID))
    mark = {"uid": UID, "prefixes": prefixes, "jobIds": [UID], "boughtUnder": "ns/ImageGeneration/it/"}
    database["jobs"].update_one({"jobId": UID}, {"$set": {"discard": mark}})
    findings = await prepare(driver)
    assert [each.action for each in findings] == ([FindingAction.PARK] if owner == SECOND else [])
    assert ("discard" in database["jobs"].find_one({"jobId": UID})) is (owner == UID)
    await rollback_of(driver).undo(resources(driver))
    assert database["jobs"].find_one({"jobId": UID})["discard"] == mark


async def test_no_intent_is_left_without_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release a5a1c84 matches any request with an intent that has no marker."""
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    await driver.do([["apply", PICTURE], ["lose", 1], ["reason", "LookingForRequest"]])
    driver.world.database["ledger"].update_one({}, {"$set": {"marker": ""}})
    await prepare(driver)
    assert driver.world.database["ledger"].count_documents({"marker": ""}) == 0


@pytest.mark.parametrize("state", new_states(Kind.IMAGE_GENERATION), ids=lambda state: state.name)
async def test_dry_runs_change_nothing_and_so_does_the_second_run(
    state: StateCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    await driver.do(state.before)
    before = driver.dump()
    told = await rollback_of(driver, dry=True).prepare(resources(driver), driver.world.now)
    assert driver.dump() == before
    assert told == await prepare(driver)
    prepared = driver.dump()
    await prepare(driver)
    assert driver.dump() == prepared


ASKS = PICTURE | {"approval": "Manual", "notify": [{"url": "https://hooks.example.com/x"}], "priority": 5}
ESTIMATED = body_of(PICTURE | {"dryRun": "Estimate"}, status_of(PICTURE, "Completed", "Estimated"))


def drop(body: Body) -> None:
    """A write under the CRDs of a5a1c84."""
    for name in ("approval", "dryRun", "notify", "priority"):
        body["spec"].pop(name, None)


async def prepared(driver: Driver, body: Body) -> list[Finding]:
    driver.world.kube.resources[Kind.IMAGE_GENERATION, "it"] = body
    return await prepare(driver)


async def test_fields_that_are_dropped_are_restored_in_the_write_that_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a resource that waits for an approval would be paid without one after the next upgrade."""
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    body = body_of(dict(ASKS))
    found = await prepared(driver, body)
    assert [each.action for each in found] == [FindingAction.SUSPEND, FindingAction.KEEP]
    assert found[1].why.endswith("approval, notify, priority")
    drop(body)
    writes: list[Body] = []
    rollback = rollback_of(driver)
    patch = rollback._patch

    async def recorded(kind: Kind, of: Body, change: Body) -> None:
        writes.append(copy.deepcopy(change))
        await patch(kind, of, change)

    rollback._patch = recorded
    await rollback.undo(resources(driver))
    assert [each["spec"] for each in writes] == [
        {"suspend": None, "approval": "Manual", "notify": ASKS["notify"], "priority": 5}
    ]
    assert not {ANNOTATION, SAVED} & set(body["metadata"]["annotations"])


async def test_a_finished_dry_run_is_suspended_and_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The removal of dryRun starts a run that is paid, and the CRDs of a5a1c84 remove it."""
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    body = copy.deepcopy(ESTIMATED)
    found = await prepared(driver, body)
    assert [each.action for each in found] == [FindingAction.SUSPEND, FindingAction.KEEP]
    assert body["spec"]["suspend"] is True
    drop(body)
    await rollback_of(driver).undo(resources(driver))
    assert body["spec"]["dryRun"] == "Estimate"
    assert not body["spec"].get("suspend")


@pytest.mark.parametrize("suspended", [True, False])
async def test_fields_of_others_are_kept_and_restored_without_a_suspension(
    suspended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    spec = ASKS | ({"suspend": True} if suspended else {})
    body = body_of(spec, status_of(PICTURE, "Completed", "Completed"))
    assert [each.action for each in await prepared(driver, body)] == [FindingAction.KEEP]
    before = copy.deepcopy(body)
    await prepare(driver)
    assert body == before
    drop(body)
    await rollback_of(driver).undo(resources(driver))
    assert (body["spec"]["approval"], body["spec"].get("suspend") is True) == ("Manual", suspended)


async def test_fields_that_somebody_has_set_since_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    body = body_of(dict(ASKS), status_of(PICTURE, "Completed", "Completed"))
    await prepared(driver, body)
    drop(body)
    body["spec"]["priority"] = 1
    await rollback_of(driver).undo(resources(driver))
    assert (body["spec"]["priority"], body["spec"]["approval"]) == (1, "Manual")


FORGED = ["", "[", "[" * 200_000, "[]", "5", '{"suspend": false, "prompt": "x", "operatorClass": "y"}',
          '{"priority": "high", "notify": 5, "approval": "x"}']  # fmt: skip


@pytest.mark.parametrize("given", FORGED, ids=range(len(FORGED)))
async def test_a_forged_annotation_sets_no_other_and_no_malformed_field(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    body = body_of(dict(PICTURE), annotations={SAVED: given})
    driver.world.kube.resources[Kind.IMAGE_GENERATION, "it"] = body
    await rollback_of(driver).undo(resources(driver))
    assert body["spec"] == PICTURE


async def test_budgets_are_left_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    windows = driver.world.database["budgets"]
    windows.insert_one({"_id": "1", "budget": "marketing", "resetsAt": None})
    windows.insert_one({"_id": "2", "budget": "gone", "resetsAt": driver.world.now - timedelta(days=1)})
    found = [each for each in await prepare(driver) if each.about.startswith("ContentBudget")]
    assert [(each.action, each.about) for each in found] == [(FindingAction.WAIT, "ContentBudget marketing")]


async def test_what_a_person_suspended_stays_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    await driver.do([["apply", PICTURE | {"suspend": True}], ["finish"]])
    body = driver.body
    body["status"]["reason"] = "ModelNotAllowed"
    await prepare(driver)
    await rollback_of(driver).undo(resources(driver))
    assert body["spec"]["suspend"] is True


async def test_a_refused_purchase_has_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release a5a1c84 sends a purchase without changing its step; the next release would send `planned` again."""
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    driver.world.database["ledger"].insert_one({"_id": "x", "state": "refused", "step": "planned"})
    await prepare(driver)
    assert driver.world.database["ledger"].find_one({"_id": "x"})["step"] is None


def test_the_key_is_the_one_of_the_operator() -> None:
    key = PurchaseKey(namespace="ns", kind=Kind.TRANSCRIPTION, name="it", run_hash="ab", rerun="x", attempt=2)
    run = OldRun(run_hash="ab", rerun="x", attempt=2, in_status=True)
    assert key_of(Kind.TRANSCRIPTION, {"namespace": "ns", "name": "it"}, run) == str(key)


def test_the_reasons_are_those_of_a5a1c84(tmp_path: Path) -> None:
    with tarfile.open(ARCHIVES / f"{OLD}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    names = (tmp_path / OLD / "operator/contentgen_contract/names.py").read_text()
    _, _, reasons = names.partition("class Reason(StrEnum):")
    assert set(re.findall(r'^    [A-Z_]+ = "(\w+)"$', reasons, re.MULTILINE)) == OLD_REASONS


def test_an_operator_that_has_written_a_moment_ago_is_noticed() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    wrote = [{"manager": "contentgen", "subresource": "status", "time": "2026-11-21T11:59:30Z"}]
    body = body_of(PICTURE, managedFields=wrote)
    assert recent_status_write([(Kind.IMAGE_GENERATION, body)], now) == "ImageGeneration ns/it 30 s ago"
    assert recent_status_write([(Kind.IMAGE_GENERATION, body)], now + timedelta(minutes=2)) == ""
    edited = body_of(PICTURE, managedFields=[wrote[0] | {"subresource": ""}])
    assert recent_status_write([(Kind.IMAGE_GENERATION, edited)], now) == ""


# The command


class Resources:
    """API server in memory: pages of resources, and the received patches."""

    labels: Body | None = None  # of the namespace

    def __init__(self, body: Body) -> None:
        self.body = body
        self.patches: list[Body] = []

    async def __aenter__(self) -> "Resources":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def pages(self, resource: Any, _: str | None) -> AsyncIterator[Page]:
        yield Page("1", [self.body] if resource.kind == "ImageGeneration" else [])

    async def get_namespace(self, name: str) -> Body:
        return {"metadata": {"name": name, "labels": self.labels}}

    async def request(self, *_: Any, **given: Any) -> Body:
        self.patches.append(given["body"])
        return {}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, list[Body]]]:
    def run(body: Body, *words: str) -> tuple[int, str, list[Body]]:
        kube = Resources(body)
        monkeypatch.setattr(commands, "KubeApi", lambda: kube)
        monkeypatch.setattr(commands, "_database", lambda _: nullcontext(mongomock.MongoClient(tz_aware=True)["db"]))
        monkeypatch.setattr(rollback_stores, "marker_reader", lambda *_: lambda _: None)
        result = CliRunner().invoke(commands.app, ["prepare-rollback", *words])
        assert result.exception is None or isinstance(result.exception, SystemExit | rollback_stores.OperatorRuns)
        return result.exit_code, result.stdout, kube.patches

    return run


WAITS = body_of(PICTURE, status_of(PICTURE, "Pending", "ModelNotAllowed"))


def test_the_command_suspends_and_prints_a_table(command: Callable[..., tuple[int, str, list[Body]]]) -> None:
    status, told, patches = command(WAITS)
    assert status == 0
    assert "suspend  ImageGeneration ns/it  a5a1c84 does not know the rule of ModelNotAllowed" in told
    (patch,) = patches
    assert patch["spec"] == {"suspend": True}
    assert patch["metadata"]["resourceVersion"] == "1"
    assert command(WAITS, "--dry-run")[2] == []


@pytest.mark.parametrize(("account", "suspends"), [("team-a", True), ("", True), ("default", False), (None, False)])
def test_the_command_suspends_what_another_account_would_pay_for(
    account: str | None, suspends: bool, command: Callable[..., tuple[int, str, list[Body]]], monkeypatch: Any
) -> None:
    labels = {ACCOUNT_LABEL: account} if account is not None else None
    monkeypatch.setattr(Resources, "labels", labels)
    status, told, patches = command(body_of(PICTURE))
    assert (status, bool(patches)) == (0, suspends)
    assert (f"a5a1c84 has no provider account {account}" in told) is suspends


@pytest.mark.parametrize(
    ("label", "minimum", "suspends"),
    [("Manual", "", True), ("misspelt", "", True), ("Automatic", "", False), (None, "", False), (None, "Manual", True)],
)
def test_the_command_suspends_what_needs_an_approval_of_the_platform(
    label: str | None,
    minimum: str,
    suspends: bool,
    command: Callable[..., tuple[int, str, list[Body]]],
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(Resources, "labels", {APPROVAL_LABEL: label} if label is not None else None)
    monkeypatch.setenv("CONTENTGEN_APPROVAL", minimum)
    status, told, patches = command(body_of(PICTURE))
    assert (status, bool(patches)) == (0, suspends)
    assert ("requires an approval" in told) is suspends


@pytest.mark.parametrize(
    ("state", "step", "waits"), [("submitted", None, True), ("intent", "sending", True), ("intent", "planned", False)]
)
async def test_open_requests_of_accounts_are_left_to_a_person(
    state: str, step: str | None, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(Kind.IMAGE_GENERATION, monkeypatch)
    ledger = driver.world.database["ledger"]
    fields = {"state": state, "step": step, "operatorClass": "default", "marker": "m", "jobId": "gone"}
    ledger.insert_one({"_id": "ns/ImageGeneration/x/ab/-/1", "account": "team-a", **fields})
    ledger.insert_one({"_id": "ns/ImageGeneration/y/ab/-/1", "account": None, **fields})
    found = [each for each in await prepare(driver) if each.action is FindingAction.WAIT]
    assert ["provider account team-a" in each.why for each in found] == [True] * waits
    assert ledger.find_one({"_id": "ns/ImageGeneration/x/ab/-/1"})["account"] == "team-a"


def test_the_command_undoes(command: Callable[..., tuple[int, str, list[Body]]]) -> None:
    noted = "/".join(("1", WAITS["status"]["run"]["runHash"], "1"))
    suspended = WAITS | {"metadata": WAITS["metadata"] | {"annotations": {ANNOTATION: noted}}}
    status, told, (patch,) = command(suspended, "--undo")
    assert (status, patch["spec"]) == (0, {"suspend": None})
    assert "resume  ImageGeneration ns/it" in told
    other = WAITS | {"metadata": WAITS["metadata"] | {"annotations": {ANNOTATION: "1/else/1"}}}
    status, told, patches = command(other, "--undo")
    assert (status, patches) == (2, [])
    assert "set spec.suspend yourself" in told


def test_the_command_refuses_beside_an_operator(command: Callable[..., tuple[int, str, list[Body]]]) -> None:
    wrote = [{"subresource": "status", "time": datetime.now(UTC).isoformat()}]
    running = WAITS | {"metadata": WAITS["metadata"] | {"managedFields": wrote}}
    assert command(running)[::2] == (1, [])


def test_markers_are_read_from_the_bucket() -> None:
    at = keys.purchase_marker("ns/key")

    class Client:
        def get_object(self, **asked: str) -> Body:
            found = {at: b'{"purchaseId": "p-1"}', keys.purchase_marker("odd"): b"[]"}.get(asked["Key"])
            if found is None:
                raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
            return {"Body": io.BytesIO(found)}

    client: Any = Client()
    read = rollback_stores.marker_reader(client, "assets")
    assert (read("ns/key"), read("odd"), read("none")) == ("p-1", "unreadable", None)


async def test_a_resource_of_another_class_is_suspended_and_left_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """a5a1c84 has no classes, and would pay as the other installation does. Ended runs are not changed."""
    kind = Kind.IMAGE_GENERATION
    driver = Driver(kind, monkeypatch)
    await driver.do([["apply", PICTURE]])
    ((_, body),) = resources(driver)
    body["spec"] = body["spec"] | {"operatorClass": "team-a"}
    (found,) = await prepare(driver)
    assert (found.action, "class team-a" in found.why) == (FindingAction.WAIT, True)
    assert driver.world.kube.resources[kind, "it"]["spec"]["suspend"] is True
    (resumed,) = await rollback_of(driver).undo(resources(driver))
    assert resumed.action is FindingAction.RESUME


async def test_a_finished_resource_of_another_class_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.IMAGE_GENERATION
    (finished,) = [state for each, state in CASES if (each, state.name) == (kind, "cancelled")]
    driver = Driver(kind, monkeypatch)
    await driver.do(finished.before)
    ((_, body),) = resources(driver)
    assert body["status"]["phase"] == "Failed"
    body["spec"] = body["spec"] | {"operatorClass": "team-a"}
    assert await prepare(driver) == []
    assert "suspend" not in body["spec"]
