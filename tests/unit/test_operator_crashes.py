"""The operator in a world in memory, ended before and after each of its writes: at most one payment, same end.

Kubernetes, the bucket, the workers and the provider are small real implementations of their seams; the ledger and
the records are the operator's own, on mongomock. A crash is an exception that nothing in the operator catches, and
after it everything that the process knew is gone.
"""

# ruff: noqa: ARG002 - the fakes have the signatures of what they stand for
import asyncio
import copy
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
import stamina
from pymongo.errors import AutoReconnect

from contentgen_contract import keys
from contentgen_contract.names import KIND_LABEL, STAGE_LABEL, Kind, Phase, Stage, progress_at
from contentgen_contract.orders import Outcome
from contentgen_contract.spec import parse_spec
from contentgen_contract.status import ResourceStatus
from contentgen_operator import reconcile
from contentgen_operator.act import Actor
from contentgen_operator.case import Policy
from contentgen_operator.jobs import JobTemplate
from contentgen_operator.kube import Conflict, owned_by
from contentgen_operator.ledger import Ledger
from contentgen_operator.observe import Observer
from contentgen_operator.observed import ResourceRef
from contentgen_operator.providers.base import Call, MaybeAccepted, RequestState, RequestView
from contentgen_operator.reconcile import Reconciler
from contentgen_operator.records import Records
from contentgen_operator.reports import Reports

UID = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a01"
SPECS: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {
        "loraName": "jesse",
        "triggerWord": "jf",
        "source": {"url": "https://example.com/talk.mp4"},
    },
    Kind.IMAGE_GENERATION: {"prompt": "a cat", "image": {"count": 2}},
    Kind.TRANSCRIPTION: {"source": {"url": "https://example.com/talk.mp3"}},
}
SHA = "0" * 64
TEMPLATE = JobTemplate(
    image="worker",
    image_pull_policy="Never",
    service_account="worker",
    resources={},
    deadline_seconds=600,
    desk_url="https://desk",
    desk_ca="",
)
ORDER = [
    Phase.PENDING,
    Phase.PREPARING,
    Phase.SUBMITTING,
    Phase.SUBMISSION_UNKNOWN,
    Phase.PROCESSING,
    Phase.COLLECTING,
    Phase.COMPLETED,
    Phase.FAILED,
]


class Crash(BaseException):
    """The process is gone."""


class Writes:
    """Counts the writes, and ends the process before (2n) or after (2n + 1) one of them."""

    def __init__(self, points: tuple[int, ...] = (), error: Callable[[], BaseException] = Crash) -> None:
        self.done: list[str] = []
        self.fired: list[str] = []
        self._points = points
        self._error = error

    async def __call__(self, name: str, write: Callable[[], Awaitable[Any]]) -> Any:
        point = 2 * len(self.done)
        self.done.append(name)
        self._maybe(point, f"before {name}")
        result = await write()
        self._maybe(point + 1, f"after {name}")
        return result

    def _maybe(self, point: int, what: str) -> None:
        if point in self._points:
            self.fired.append(what)
            raise self._error()


class FakeKube:
    """Resources and Jobs with optimistic locking."""

    def __init__(self, writes: Writes) -> None:
        self.resources: dict[tuple[Kind, str], dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        self.statuses: list[ResourceStatus] = []
        self._writes = writes
        self._version = itertools.count(1)

    def apply(self, kind: Kind, spec: dict[str, Any], uid: str = UID, name: str = "it", **annotations: str) -> None:
        before = self.resources.get((kind, name))
        keep = before if before is not None and before["metadata"]["uid"] == uid else None
        self.resources[kind, name] = {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": uid,
                "generation": (keep["metadata"]["generation"] + (keep["spec"] != spec)) if keep else 1,
                "resourceVersion": str(next(self._version)),
                "creationTimestamp": "2026-11-21T00:00:00Z",
                "annotations": annotations,
            },
            "spec": spec,
            "status": keep["status"] if keep else {},
        }

    async def get_resource(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.resources.get((kind, name)))

    async def put_status(self, kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> None:
        async def write() -> None:
            kept = self.resources[kind, name]
            if kept["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                raise Conflict("changed in between")
            assert kept["metadata"]["uid"] == body["metadata"]["uid"]
            kept["status"] = copy.deepcopy(body["status"])
            kept["metadata"]["resourceVersion"] = str(next(self._version))
            self.statuses.append(ResourceStatus.model_validate(body["status"]))

        await self._writes("status", write)

    async def get_job(self, namespace: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.jobs.get(name))

    async def create_job(self, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        async def write() -> dict[str, Any]:
            name = manifest["metadata"]["name"]
            if name not in self.jobs:
                job = copy.deepcopy(manifest)
                job["metadata"] |= {"uid": f"uid-of-{name}", "creationTimestamp": "2026-11-21T00:00:00Z"}
                self.jobs[name] = job
            found = self.jobs[name]
            if not owned_by(found, manifest["metadata"]["ownerReferences"][0]["uid"]):
                raise Conflict("somebody else's")
            return copy.deepcopy(found)

        return await self._writes("job", write)

    async def post_event(self, ref: ResourceRef, notice: Any, now: datetime) -> None:
        async def write() -> None:
            self.events.append((notice.type, notice.reason))

        await self._writes("event", write)


class MemoryStorage:
    """A bucket."""

    def __init__(self, writes: Writes) -> None:
        self.objects: dict[str, Any] = {}
        self._writes = writes

    async def outcome(self, key: str) -> Outcome | None:
        found = self.objects.get(key)
        return Outcome.model_validate_json(found) if found is not None else None

    async def sizes(self, prefix: str) -> dict[str, int]:
        return {k.removeprefix(prefix): v for k, v in self.objects.items() if k.startswith(prefix)}

    async def put_json(self, key: str, document: dict[str, Any]) -> None:
        async def write() -> None:
            self.objects[key] = document

        await self._writes("document", write)

    def provider_get(self, key: str) -> str:
        return f"http://s3.example/bucket/{key}?X-Amz-Signature=secret"

    def plain_url(self, key: str) -> str:
        return f"http://s3.example/bucket/{key}"


class FakeProvider:
    """Remembers every POST, and lists them in its history; one whose reply it lost only after a while."""

    configured = True

    def __init__(self, writes: Writes) -> None:
        self.posts: list[Call] = []
        self.fails: set[int] = set()
        self.lose_replies: set[int] = set()
        self._writes = writes
        self._polls: dict[str, int] = {}
        self._looks = 0

    async def submit(self, call: Call) -> str:
        async def write() -> str:
            self.posts.append(call)
            if len(self.posts) in self.lose_replies:
                raise MaybeAccepted("the reply was lost")
            return f"request-{len(self.posts)}"

        return str(await self._writes("POST", write))

    async def poll(self, model: str, request_id: str) -> RequestView:
        self._polls[request_id] = self._polls.get(request_id, 0) + 1
        if self._polls[request_id] == 1:
            return RequestView(state=RequestState.RUNNING, message="running")
        if int(request_id.removeprefix("request-")) in self.fails:
            return RequestView(state=RequestState.FAILED, message="out of memory")
        return RequestView(state=RequestState.SUCCEEDED, result={"answer": 42})

    async def find(self, model: str, marker: str, known: frozenset[str]) -> str | None:
        self._looks += 1
        if len(self.posts) in self.lose_replies and self._looks < 3:
            return await self._find(self.posts[:-1], marker, known)  # like fal's, which lists what has ended
        return await self._find(self.posts, marker, known)

    async def _find(self, posts: list[Call], marker: str, known: frozenset[str]) -> str | None:
        ids = [f"request-{i + 1}" for i, call in enumerate(posts) if call.marker == marker]
        return next((each for each in reversed(ids) if each not in known), None)


class TracedLedger(Ledger):
    """The operator's own, each write a crash point."""

    def __init__(self, collection: Any, writes: Writes) -> None:
        super().__init__(collection)
        self._writes = writes

    async def intend(self, key: Any, purchase: Any) -> bool:
        return bool(await self._writes("intend", lambda: Ledger.intend(self, key, purchase)))

    async def move(self, move: Any) -> bool:
        return bool(await self._writes(f"move to {move.target}", lambda: Ledger.move(self, move)))


class TracedRecords(Records):
    """Likewise."""

    def __init__(self, collection: Any, storage: Any, writes: Writes) -> None:
        super().__init__(collection, storage)
        self._writes = writes

    async def write(self, resource: Any, status: Any) -> None:
        await self._writes("record", lambda: Records.write(self, resource, status))


class World:
    """Everything that outlives the process, and the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writes: Writes) -> None:
        self.writes = writes
        self.now = datetime(2026, 11, 21, tzinfo=UTC)
        self.kube = FakeKube(writes)
        self.storage = MemoryStorage(writes)
        self.provider = FakeProvider(writes)
        self.database = mongomock.MongoClient(tz_aware=True)["db"]
        self.policy = Policy(poll_seconds=300)
        monkeypatch.setattr(reconcile, "utc_now", lambda: self.now)
        self.restart()

    def restart(self) -> None:
        self.process = self.operator()

    def operator(self) -> Reconciler:
        kube: Any = self.kube
        storage: Any = self.storage
        ledger = TracedLedger(self.database["ledger"], self.writes)
        providers: Any = {"fal": self.provider, "assemblyai": self.provider}
        observer = Observer(kube=kube, storage=storage, ledger=ledger, providers=providers, reports=Reports())
        actor = Actor(
            kube=kube,
            storage=storage,
            ledger=ledger,
            records=TracedRecords(self.database["jobs"], storage, self.writes),
            providers=providers,
            template=TEMPLATE,
        )
        return Reconciler(kube=kube, observer=observer, actor=actor, policy=self.policy)

    def work(self) -> None:
        """The workers do what their Jobs ask for."""
        for job in self.kube.jobs.values():
            if "status" in job:
                continue
            kind, stage = Kind(job["metadata"]["labels"][KIND_LABEL]), Stage(job["metadata"]["labels"][STAGE_LABEL])
            status = self.status(kind)
            if status.run is None or status.run.job is None or status.run.job.uid != job["metadata"]["uid"]:
                continue  # the desk does not know it yet
            self._leave_outcome(kind, stage, status)
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    def _leave_outcome(self, kind: Kind, stage: Stage, status: ResourceStatus) -> None:
        assert status.run is not None
        assert status.job_id is not None
        outcome = outcome_of(kind, stage, status.job_id)
        prefix = keys.prefix(kind, stage, "ns", status.job_id, status.run.version)
        for file in outcome.files:
            self.storage.objects[prefix + file.name] = file.size_bytes
        key = keys.outcome(status.job_id, status.run.number, stage, status.run.stage_attempt)
        self.storage.objects[key] = outcome.model_dump_json(by_alias=True)

    def status(self, kind: Kind, name: str = "it") -> ResourceStatus:
        return ResourceStatus.model_validate(self.kube.resources[kind, name]["status"])

    async def step(self, kind: Kind, name: str = "it") -> None:
        uid = self.kube.resources[kind, name]["metadata"]["uid"]
        ref = ResourceRef(kind=kind, namespace="ns", name=name, uid=uid)
        again: float | None = 1
        try:
            again = await self.process._once(ref)
        except Conflict:
            pass
        except Crash:
            self.restart()
        self.now += timedelta(seconds=max(again or 1, 1))
        self.work()

    async def finish(self, kind: Kind, *stops: Phase) -> ResourceStatus:
        for _ in range(2000):
            await self.step(kind)
            status = self.status(kind)
            if status.phase in (Phase.COMPLETED, Phase.FAILED, *stops):
                return status
        raise AssertionError(f"never ends: {self.status(kind)}")

    async def settle(self, kind: Kind) -> None:
        """What a crash after the last status write left undone is done at the next start; then all is quiet."""
        self.restart()
        for _ in range(3):  # the faults may strike only here
            await self.step(kind)
        before = len(self.writes.done)
        for _ in range(5):
            await self.step(kind)
        assert self.writes.done[before:] == []


def outcome_of(kind: Kind, stage: Stage, uid: str) -> Outcome:
    names, facts = {
        (Kind.LORA_TRAINING, Stage.PREPARE): (
            ["dataset.zip", "dataset.json"],
            {
                "type": "dataset",
                "images": 12,
                "scenes": 4,
                "durationSeconds": 60,
                "width": 1,
                "height": 1,
                "sourceBytes": 1,
            },
        ),
        (Kind.LORA_TRAINING, Stage.COLLECT): (["model.safetensors", "config.json"], {"type": "lora", "sizeBytes": 7}),
        (Kind.IMAGE_GENERATION, Stage.COLLECT): (
            ["image_1.png", "image_1_thumb.png"],
            {
                "type": "images",
                "seed": 7,
                "images": [
                    {
                        "name": "image_1.png",
                        "thumbnail": "image_1_thumb.png",
                        "width": 8,
                        "height": 8,
                        "sizeBytes": 7,
                    }
                ],
            },
        ),
        (Kind.TRANSCRIPTION, Stage.PREPARE): (
            ["audio.flac"],
            {"type": "audio", "durationSeconds": 60.5, "sourceBytes": 1},
        ),
        (Kind.TRANSCRIPTION, Stage.COLLECT): (
            ["transcript.json", "transcript.txt"],
            {"type": "transcript", "wordCount": 3, "durationSeconds": 60, "speakers": 1},
        ),
    }[kind, stage]
    files = [{"name": each, "sizeBytes": 7, "sha256": SHA, "contentType": "a/b"} for each in names]
    return Outcome.model_validate(
        {"jobId": uid, "stage": stage, "attempt": 1, "reason": "Completed", "files": files, "facts": facts}
    )


MILESTONES = ("SourceReady", "DatasetReady", "Submitted", "Stored")


def timeless(value: Any) -> Any:
    """Without times and resource versions, which differ between runs of the same story.

    A milestone's condition keeps the words of its moment, which a crash may change: "the request was found again".
    """
    if isinstance(value, dict) and value.get("type") in MILESTONES:
        return {k: value[k] for k in ("type", "status", "observedGeneration")}
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.lower().endswith(("time", "at"))}
    if isinstance(value, list):
        return [timeless(each) for each in value]
    return value


def payment_aside(status: dict[str, Any]) -> dict[str, Any]:
    """Without what a person's resubmission changes."""
    run = {k: v for k, v in status["run"].items() if k not in ("paidAttempt", "requestId")}
    return status | {"run": run}


def assert_forward(statuses: list[ResourceStatus]) -> None:
    for before, after in itertools.pairwise(statuses):
        assert before.run is not None
        assert after.run is not None
        if (before.run.number, before.run.paid_attempt) != (after.run.number, after.run.paid_attempt):
            continue
        assert before.phase is not None
        assert after.phase is not None
        assert ORDER.index(before.phase) <= ORDER.index(after.phase), (before.phase, after.phase)
        assert before.progress <= after.progress


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=8):
        yield


async def story(monkeypatch: pytest.MonkeyPatch, kind: Kind, writes: Writes) -> tuple[World, dict[str, Any]]:
    """One resource from its first sight to its end, with a person who decides where that is needed."""
    world = World(monkeypatch, writes)
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind, Phase.SUBMISSION_UNKNOWN)
    if status.phase is Phase.SUBMISSION_UNKNOWN:
        assert world.provider.posts == []
        assert status.message is not None
        world.kube.apply(kind, SPECS[kind], **{"contentgen.dev/resubmit": status.message.rpartition("=")[2]})
        status = await world.finish(kind)
    await world.settle(kind)
    return world, world.kube.resources[kind, "it"]["status"]


WRITES: dict[Kind, int] = {Kind.LORA_TRAINING: 40, Kind.IMAGE_GENERATION: 30, Kind.TRANSCRIPTION: 40}


@pytest.mark.parametrize("kind", Kind)
async def test_the_story_without_a_crash(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    world, status = await story(monkeypatch, kind, Writes())
    assert status["phase"] == "Completed"
    assert status["progress"] == 100
    assert len(world.provider.posts) == 1
    assert_forward(world.kube.statuses)
    first = {each.type: each.status for each in world.kube.statuses[0].conditions}
    assert (first["Ready"], first["Reconciling"], first["Stalled"]) == ("False", "True", "False")
    record = world.database["jobs"].find_one({"jobId": UID})
    assert record is not None
    assert (record["status"], record["progress"], len(record["versions"])) == ("completed", 100, 1)
    assert len(world.kube.events) == len(set(world.kube.events)), "each transition is told once"
    assert "Signature" not in str(world.kube.resources) + str(world.kube.statuses) + str(record)
    assert parse_spec(kind, SPECS[kind])
    assert len(world.writes.done) <= WRITES[kind]


@pytest.mark.parametrize("kind", Kind)
async def test_a_crash_at_any_write_pays_once_and_converges(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, expected = await story(monkeypatch, kind, Writes())
    points = range(2 * len(reference.writes.done))
    unknown = []
    for point in points:
        world, status = await story(monkeypatch, kind, Writes((point,)))
        assert len(world.writes.fired) == 1, "the fault really fired"
        where = f"crash {world.writes.fired[0]} (point {point})"
        assert len(world.provider.posts) == 1, where
        assert_forward(world.kube.statuses)
        if any(each.phase is Phase.SUBMISSION_UNKNOWN for each in world.kube.statuses):
            unknown.append(world.writes.fired[0])
            status = payment_aside(status)
            assert timeless(status) == timeless(payment_aside(expected)), where
        else:
            assert timeless(status) == timeless(expected), where
        assert timeless(world.database["jobs"].find_one({}, {"_id": 0})) == timeless(
            reference.database["jobs"].find_one({}, {"_id": 0})
        ), where
    # Nobody can tell whether the POST went out: the one place where a person is asked.
    assert unknown == ["after intend", "before POST"]


@pytest.mark.parametrize("kind", Kind)
async def test_a_second_crash_during_recovery(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, _ = await story(monkeypatch, kind, Writes())
    chance = random.Random(kind.value)  # noqa: S311 - which points, not secrets
    for _ in range(8):
        first = chance.randrange(2 * len(reference.writes.done))
        world, status = await story(monkeypatch, kind, Writes((first, first + chance.randint(1, 9))))
        assert status["phase"] == "Completed", world.writes.fired
        assert len(world.provider.posts) == 1, world.writes.fired


async def test_a_database_that_drops_any_reply_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.TRANSCRIPTION
    reference, expected = await story(monkeypatch, kind, Writes())
    for index, name in enumerate(reference.writes.done):
        if not name.startswith(("intend", "move", "record")):
            continue
        for point in (2 * index, 2 * index + 1):
            lost = Writes((point,), lambda: AutoReconnect("connection reset"))
            world, status = await story(monkeypatch, kind, lost)
            assert len(world.provider.posts) == 1, world.writes.fired
            assert timeless(payment_aside(status)) == timeless(payment_aside(expected)), world.writes.fired


async def test_two_operators_at_once_pay_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in Kind:
        world = World(monkeypatch, Writes())
        world.kube.apply(kind, SPECS[kind])
        ref = ResourceRef(kind=kind, namespace="ns", name="it", uid=UID)
        operators = [world.operator(), world.operator()]
        for _ in range(50):
            ends = await asyncio.gather(*(each._once(ref) for each in operators), return_exceptions=True)
            assert not [each for each in ends if isinstance(each, BaseException) and not isinstance(each, Conflict)]
            world.now += timedelta(seconds=2)
            world.work()
        assert world.status(kind).phase is Phase.COMPLETED
        assert len(world.provider.posts) == 1


async def test_a_lost_reply_is_found_in_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in Kind:
        world = World(monkeypatch, Writes())
        world.provider.lose_replies = {1}
        world.kube.apply(kind, SPECS[kind])
        status = await world.finish(kind)
        assert status.phase is Phase.COMPLETED
        assert status.run is not None
        assert status.run.request_id == "request-1"
        assert len(world.provider.posts) == 1


@pytest.mark.parametrize(("allowed", "posts", "end"), [(1, 1, Phase.FAILED), (2, 2, Phase.COMPLETED)])
async def test_another_attempt_only_after_the_provider_said_that_one_failed(
    allowed: int, posts: int, end: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in Kind:
        world = World(monkeypatch, Writes())
        world.provider.fails = {1}
        world.kube.apply(kind, SPECS[kind] | {"paidAttempts": allowed})
        assert (await world.finish(kind)).phase is end
        assert len(world.provider.posts) == posts
        await world.settle(kind)


async def test_the_lost_reply_of_a_second_attempt_is_not_taken_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both attempts of a training have the same input file, and so the same marker."""
    kind = Kind.LORA_TRAINING
    world = World(monkeypatch, Writes())
    world.provider.fails, world.provider.lose_replies = {1}, {2}
    world.kube.apply(kind, SPECS[kind] | {"paidAttempts": 3})
    status = await world.finish(kind)
    assert status.run is not None
    assert (status.phase, status.run.request_id, len(world.provider.posts)) == (Phase.COMPLETED, "request-2", 2)


async def test_an_old_resubmit_annotation_pays_for_no_later_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.IMAGE_GENERATION
    reference, _ = await story(monkeypatch, kind, Writes())
    world = World(monkeypatch, Writes((2 * reference.writes.done.index("intend") + 1,)))
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind, Phase.SUBMISSION_UNKNOWN)
    assert status.message is not None
    token = status.message.rpartition("=")[2]
    annotations = {"contentgen.dev/resubmit": token}
    world.kube.apply(kind, SPECS[kind], **annotations)
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1
    # A person asks for one more; its reply is lost, and the history does not show it.
    world.provider.lose_replies = {2}
    monkeypatch.setattr(world.provider, "find", nothing_found)
    world.kube.apply(kind, SPECS[kind], **annotations, **{"contentgen.dev/rerun": "once more"})
    await world.step(kind)
    assert (await world.finish(kind, Phase.SUBMISSION_UNKNOWN)).phase is Phase.SUBMISSION_UNKNOWN
    assert len(world.provider.posts) == 2


async def nothing_found(model: str, marker: str, known: frozenset[str]) -> None:
    return None


@pytest.mark.parametrize("kind", Kind)
async def test_deleted_and_applied_again_at_each_step_pays_once(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in range(1, 14, 2):
        world = World(monkeypatch, Writes())
        world.kube.apply(kind, SPECS[kind])
        for _ in range(steps):
            await world.step(kind)
        world.kube.apply(kind, SPECS[kind], uid="another-uid")
        world.kube.jobs.clear()  # the garbage collector
        status = await world.finish(kind)
        assert status.phase is Phase.COMPLETED
        assert len(world.provider.posts) == 1
        await world.settle(kind)
    assert status.reason == "AdoptedFinishedRun", "the last of them came after the end"
    assert status.cost is not None
    assert status.cost.actual == "0.00"
    assert status.versions[0].job_id == UID


async def test_an_edit_during_a_run_is_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.IMAGE_GENERATION
    world = World(monkeypatch, Writes())
    world.kube.apply(kind, SPECS[kind])
    for _ in range(3):
        await world.step(kind)
    world.kube.apply(kind, {"prompt": "a dog"})
    first = await world.finish(kind)
    assert first.run is not None
    assert (first.run.number, first.run.spec["prompt"]) == (1, "a cat")
    await world.step(kind)
    second = await world.finish(kind)
    assert second.run is not None
    assert (second.run.number, second.run.spec["prompt"], [v.version for v in second.versions]) == (2, "a dog", [1, 2])
    assert [call.arguments["prompt"] for call in world.provider.posts] == ["a cat", "a dog"]
    # Back to the first: it was bought before.
    world.kube.apply(kind, SPECS[kind])
    await world.step(kind)
    third = await world.finish(kind)
    assert (third.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 2)
    assert third.cost is not None
    assert third.cost.actual == "0.00"


async def test_progress_is_monotonic_in_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await story(monkeypatch, Kind.LORA_TRAINING, Writes())
    seen = [each.progress for each in world.kube.statuses]
    assert seen == sorted(seen)
    assert progress_at(Kind.LORA_TRAINING, next(iter(world.kube.statuses)).stage, 0) == seen[0]
