"""Record of a job: the shape that the legacy API documents."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_contract.records import keys
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.record import legacy_status
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.resources.status import Cost, OutputFile, ResourceStatus, RunStatus, VersionStatus
from contentgen_operator.state.observed import Resource
from contentgen_operator.stores.records import DeletionMark, RecordStore
from contentgen_runtime.kube import Conflict

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BASE = "https://content-generation-assets.s3.amazonaws.com"
SPECS: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {
        "userId": "user-456",
        "loraName": "jesse_avatar",
        "triggerWord": "jf",
        "source": {"url": "https://h/talk%20one.mp4?token=secret"},
        "training": {"steps": 1000, "learningRate": "0.0004"},
        "metadata": {"tags": ["avatar"], "description": "d", "isPublic": True},
    },
    Kind.IMAGE_GENERATION: {"userId": "user-456", "prompt": "a cat", "model": "flux-pro", "image": {"seed": 42}},
    Kind.TRANSCRIPTION: {"userId": "user-456", "source": {"url": "s3://recordings/podcast.mp3"}},
}
OUTPUTS: dict[Kind, tuple[str, list[str], dict[str, Any]]] = {
    Kind.LORA_TRAINING: ("loras/user-456/abc/v1/", ["model.safetensors", "config.json", "preview.png"], {}),
    Kind.IMAGE_GENERATION: (
        "generated-images/user-456/abc/",
        ["image_1.png", "image_1_thumb.png"],
        {
            "seed": 42,
            "images": [
                {
                    "name": "image_1.png",
                    "thumbnail": "image_1_thumb.png",
                    "width": 1024,
                    "height": 768,
                    "sizeBytes": 9,
                }
            ],
        },
    ),
    Kind.TRANSCRIPTION: (
        "transcripts/user-456/abc/",
        ["transcript.json", "transcript.txt", "transcript.srt"],
        {"wordCount": 861, "durationSeconds": 282.0, "speakers": 2, "language": "en"},
    ),
}


def case(kind: Kind, phase: Phase = Phase.COMPLETED) -> tuple[Resource, ResourceStatus]:
    metadata = {
        "name": "it",
        "namespace": "ns",
        "uid": "abc",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-20T00:00:00Z",
    }
    resource = Resource.parse(kind, {"metadata": metadata, "spec": SPECS[kind]})
    prefix, names, facts = OUTPUTS[kind]
    version = VersionStatus(
        version=1,
        job_id="abc",
        completed_at=NOW,
        files=tuple(OutputFile(key=prefix + name, size_bytes=9) for name in names),
        facts=facts,
    )
    run = RunStatus(
        number=1,
        version=1,
        run_hash=run_hash(kind, parse_spec(kind, SPECS[kind])),
        generation=1,
        spec=SPECS[kind],
        started_at=NOW,
        facts={"images": 28, "audibleSeconds": 240.5},
    )
    status = ResourceStatus(
        phase=phase,
        job_id="abc",
        progress=100,
        message="why",
        run=run,
        versions=(version,),
        start_time=NOW,
        completion_time=NOW,
    )
    return resource, status


def url(key: str) -> str:
    return f"{BASE}/{key}"


class Plain:
    plain_url = staticmethod(url)


def collection_and_records() -> tuple[Any, RecordStore]:
    collection: Any = mongomock.MongoClient(tz_aware=True)["db"]["jobs"]
    storage: Any = Plain()
    return collection, RecordStore(collection, storage)


async def made(kind: Kind, phase: Phase = Phase.COMPLETED) -> dict[str, Any]:
    collection, records = collection_and_records()
    await records.write(*case(kind, phase))
    (document,) = collection.find()
    return dict(document)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (Kind.LORA_TRAINING, "lora-training"),
        (Kind.IMAGE_GENERATION, "image-generation"),
        (Kind.TRANSCRIPTION, "transcription"),
    ],
)
async def test_fields_of_each_record(kind: Kind, word: str) -> None:
    document = await made(kind)
    assert (document["jobId"], document["userId"], document["type"]) == ("abc", "user-456", word)
    assert (document["status"], document["progress"], document["error"]) == ("completed", 100, None)
    assert (document["createdAt"], document["completedAt"]) == (datetime(2026, 11, 20, tzinfo=UTC), NOW)
    assert [v["version"] for v in document["versions"]] == [1]
    assert document["versions"][0]["createdAt"] == NOW
    assert "secret" not in str(document)


async def test_the_version_of_a_lora() -> None:
    (version,) = (await made(Kind.LORA_TRAINING))["versions"]
    assert version["modelUrl"] == f"{BASE}/loras/user-456/abc/v1/model.safetensors"
    assert version["s3Key"] == "loras/user-456/abc/v1/model.safetensors"
    assert version["sizeBytes"] == 9
    assert version["config"] == {"trigger": "jf", "steps": 1000, "learning_rate": 0.0004, "frame_count": 28}


async def test_a_picture_without_a_thumbnail_and_what_is_odd() -> None:
    collection, records = collection_and_records()
    resource, status = case(Kind.IMAGE_GENERATION)
    (version,) = status.versions
    odd = {**version.facts["images"][0], "thumbnail": None}
    seed = str(2**64 - 1)
    facts = {"images": [odd], "seed": seed, "notes": ["image_1.png has no thumbnail"]}
    version = version.model_copy(update={"facts": facts, "files": version.files[:1]})
    await records.write(resource, status.model_copy(update={"versions": (version,)}))
    (made,) = collection.find_one()["versions"]
    assert (made["images"][0]["thumbnailUrl"], made["seed"]) == (None, seed)
    assert made["warnings"] == ["image_1.png: of another size than 1024x1024", "image_1.png has no thumbnail"]


async def test_the_version_of_pictures() -> None:
    (version,) = (await made(Kind.IMAGE_GENERATION))["versions"]
    (image,) = version["images"]
    assert image["url"] == f"{BASE}/generated-images/user-456/abc/image_1.png"
    assert (image["s3Key"], image["width"], image["height"], image["sizeBytes"]) == (
        "generated-images/user-456/abc/image_1.png",
        1024,
        768,
        9,
    )


async def test_the_version_of_a_transcript() -> None:
    (version,) = (await made(Kind.TRANSCRIPTION))["versions"]
    assert version["transcriptUrl"] == f"{BASE}/transcripts/user-456/abc/transcript.json"
    assert version["textUrl"] == f"{BASE}/transcripts/user-456/abc/transcript.txt"
    assert (version["wordCount"], version["duration"], version["vttUrl"]) == (861, 282.0, None)
    assert version["audibleDuration"] == 240.5


@pytest.mark.parametrize("phase", [None, *Phase])
def test_the_seeds_words(phase: Phase | None) -> None:
    word = legacy_status(phase)
    assert word in {"queued", "processing", "completed", "failed"}
    if phase is not None:
        assert (word in {"completed", "failed"}) is phase.terminal


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.LORA_TRAINING, {"it", "jesse", "avatar", "jf", "talk", "one", "mp4", "d"}),
        (Kind.IMAGE_GENERATION, {"it", "a", "cat", "fal", "flux", "pro"}),
        (Kind.TRANSCRIPTION, {"it", "podcast", "mp3"}),
    ],
)
async def test_the_words_that_a_record_is_found_by(kind: Kind, words: set[str]) -> None:
    assert words <= set((await made(kind))["terms"])


async def test_a_record_has_the_name_of_the_model_that_the_user_wrote() -> None:
    """The legacy API's clients compare it with what they have sent."""
    document = await made(Kind.IMAGE_GENERATION)
    names = {document["config"]["model"], *(version["model"] for version in document["versions"])}
    assert names == {"flux-pro"}
    assert (await made(Kind.LORA_TRAINING))["config"]["model"] == "flux-lora-fast-training"


async def test_adoption_marks_no_record_of_another_namespace_or_kind() -> None:
    """The jobId comes from a status, which a tenant may have written."""
    collection, records = collection_and_records()
    resource, status = case(Kind.LORA_TRAINING)
    mine = {"namespace": resource.ref.namespace, "type": Kind.LORA_TRAINING.record_type}
    collection.insert_many(
        [
            {"jobId": "earlier", **mine},
            {"jobId": "theirs", **mine, "namespace": "blue"},
            {"jobId": "picture", **mine, "type": Kind.IMAGE_GENERATION.record_type},
        ]
    )
    adopted = [
        status.versions[0].model_copy(update={"version": number, "job_id": job})
        for number, job in enumerate(("earlier", "theirs", "picture", resource.ref.uid), 1)
    ]
    await records.write(resource, status.model_copy(update={"versions": tuple(adopted)}))
    marked = {record["jobId"]: record["adoptedBy"] for record in collection.find({"adoptedBy": {"$exists": True}})}
    assert marked == {"earlier": resource.ref.uid}


async def test_sizes_and_uses_of_a_job_are_summed_over_versions() -> None:
    collection, records = collection_and_records()
    resource, status = case(Kind.IMAGE_GENERATION)
    assert status.run is not None
    lora = "loras/user-456/trained/v3/model.safetensors"
    run = status.run.model_copy(update={"loras": (lora,), "facts": {"storedBytes": 100}})
    await records.write(resource, status.model_copy(update={"run": run}))
    adopted = status.versions[0].model_copy(update={"version": 2, "job_id": "another"})
    again = run.model_copy(update={"version": 2, "loras": ()})
    second = status.model_copy(update={"run": again, "versions": (*status.versions, adopted)})
    for _ in range(2):
        await records.write(resource, second)
    (document,) = collection.find()
    assert [(version["bytes"], version["loras"]) for version in document["versions"]] == [(118, [lora]), (0, [])]
    assert (document["bytes"], document["pictures"], document["uses"]) == (118, 2, ["trained"])
    assert document["versions"][0]["files"][0] == {"name": "image_1.png", "sizeBytes": 9}
    collection.update_one({}, {"$unset": {"bytes": ""}})  # a crash before it was counted
    await records.write(resource, second)
    assert collection.find_one()["bytes"] == 118


@pytest.mark.parametrize(
    ("key", "run"),
    [
        ("loras/u/j/v12/model.safetensors", ("u", "j", 12)),
        ("datasets/u/j/images/0001.jpg", ("u", "j", 1)),
        ("datasets/u/j/v2/captions/0001.txt", ("u", "j", 2)),
        ("transcripts/u/j/transcript.txt", ("u", "j", 1)),
        ("generated-images/u/j/v3/image_1.png", ("u", "j", 3)),
        ("loras/u/../v1/model.safetensors", None),
        ("loras/u/j/v0/model.safetensors", None),
        ("loras/u/j/v1/../../x", None),
        ("runs/j/1/prepare-1.json", None),
        ("loras/u/j/v1/model.safetensors\n", None),
    ],
)
def test_the_run_that_a_file_is_of(key: str, run: tuple[str, str, int] | None) -> None:
    assert keys.run_of(key) == run


async def test_an_error_is_told() -> None:
    assert (await made(Kind.TRANSCRIPTION, Phase.FAILED))["error"] == "why"


async def test_a_version_says_for_ever_how_it_was_made() -> None:
    collection, records = collection_and_records()
    resource, status = case(Kind.LORA_TRAINING)
    await records.write(resource, status)
    assert status.run is not None
    spec = SPECS[Kind.LORA_TRAINING] | {"training": {"steps": 77}}
    run = status.run.model_copy(update={"number": 2, "version": 2, "spec": spec})
    second = status.versions[0].model_copy(update={"version": 2})
    under_way = status.model_copy(update={"run": run, "phase": Phase.PROCESSING})
    finished = under_way.model_copy(update={"phase": Phase.COMPLETED, "versions": (*status.versions, second)})
    for each in (under_way, finished, finished):
        await records.write(resource, each)
    (document,) = collection.find()
    assert [(v["version"], v["config"]["steps"]) for v in document["versions"]] == [(1, 1000), (2, 77)]
    assert document["config"]["steps"] == 77


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("kind", Kind)
async def test_the_time_of_an_update_is_that_of_a_change(kind: Kind, *, restarts: bool) -> None:
    """After a restart, the operator writes each record once more, and remembers none."""
    times = [NOW + timedelta(hours=hour) for hour in range(9)]
    clock, storage = iter(times), Plain()
    collection: Any = mongomock.MongoClient(tz_aware=True)["db"]["jobs"]

    def store() -> RecordStore:
        return RecordStore(collection, storage, now=lambda: next(clock))  # type: ignore[arg-type]  # a part of it

    records = store()
    resource, status = case(kind)
    first = status.model_copy(update={"phase": Phase.PROCESSING, "versions": ()})
    tagged = resource.model_copy(update={"spec": resource.spec | {"metadata": {"tags": ["new"]}}})
    writes = ((resource, first), (resource, first), (resource, status), (resource, status), (tagged, status))
    found = []
    for write in writes:
        records = store() if restarts else records
        await records.write(*write)
        found.append(times.index(collection.find_one()["updatedAt"]))
    assert found == [0, 0, 1, 1, 2]
    collection.update_one({}, {"$unset": {"costMicros": "", "terms": ""}})  # a record of an earlier release
    await store().write(tagged, status)
    await records.end("abc")
    assert collection.find_one()["updatedAt"] == times[2], "it had ended"


@pytest.mark.parametrize(
    ("cost", "micros"),
    [
        (None, None),
        (Cost(display="unknown"), None),
        (Cost(estimated="2.00", display="~$2.00"), 2_000_000),
        (Cost(estimated="2.00", actual="0.0350", display="$0.0350"), 35_000),
        (Cost(estimated="2.00", actual="0.00"), 0),
        (Cost(estimated="1e400"), None),  # another user wrote the status
        (Cost(actual="NaN"), None),
    ],
)
async def test_the_cost_is_a_number_for_the_order_of_lists(cost: Cost | None, micros: int | None) -> None:
    collection, records = collection_and_records()
    resource, status = case(Kind.IMAGE_GENERATION)
    await records.write(resource, status.model_copy(update={"cost": cost}))
    assert collection.find_one()["costMicros"] == micros


async def test_an_edit_of_tags_is_true_at_once() -> None:
    collection, records = collection_and_records()
    resource, status = case(Kind.TRANSCRIPTION)
    edited = resource.model_copy(update={"spec": resource.spec | {"metadata": {"tags": ["new"]}}})
    await records.write(edited, status)
    await records.write(resource.model_copy(update={"spec": {"metadata": {"tags": "wrong"}}}), ResourceStatus())
    assert collection.find_one()["metadata"]["tags"] == ["new"]


async def test_a_rename_of_a_lora_is_true_at_once() -> None:
    collection, records = collection_and_records()
    resource, status = case(Kind.LORA_TRAINING)
    for name, told in (("renamed", "renamed"), ("not a name", "jesse_avatar")):
        renamed = resource.model_copy(update={"spec": resource.spec | {"loraName": name}})
        await records.write(renamed, status)
        document = collection.find_one()
        assert (document["config"]["loraName"], document["config"]["trigger"]) == (told, "jf")


@pytest.mark.parametrize(("phase", "word"), [(Phase.PROCESSING, "cancelled"), (Phase.COMPLETED, "completed")])
async def test_running_job_of_a_deleted_resource_is_cancelled(phase: Phase, word: str) -> None:
    collection, records = collection_and_records()
    await records.write(*case(Kind.TRANSCRIPTION, phase))
    await records.end("abc")
    await records.end("of nothing")
    assert [document["status"] for document in collection.find()] == [word]


async def test_pending_discard_is_remembered_until_done() -> None:
    collection, records = collection_and_records()
    discard = DeletionTombstone(uid="abc", prefixes=("a/",), job_ids=("abc",), bought_under="ns/Transcription/it/")
    await records.write(*case(Kind.TRANSCRIPTION))
    mark = DeletionMark(namespace="ns", uid="abc")
    assert (await records.marks(10), await records.discard_of(mark)) == ([], None)
    await records.mark_discarded(discard)
    assert (await records.marks(10), await records.discard_of(mark)) == ([mark], discard)
    await records.forget(discard)
    assert (await records.marks(10), collection.count_documents({})) == ([], 0)


async def test_tombstones_of_namespaces_take_turns_in_bounded_number() -> None:
    collection, records = collection_and_records()
    for namespace, count in (("crowd", 50), ("pair", 2), ("single", 1)):
        for number in range(count):
            uid = f"{namespace}-{number}"
            collection.insert_one({"jobId": uid, "namespace": namespace})
            await records.mark_discarded(DeletionTombstone(uid=uid, prefixes=(), job_ids=(uid,)))
    first = await records.marks(5)
    assert [each.namespace for each in first] == ["crowd", "pair", "single", "crowd", "pair"]
    more = await records.marks(5, first.__contains__)
    assert [each.uid for each in more] == [f"crowd-{number}" for number in range(2, 7)]


async def test_the_records_of_those_whose_files_it_took_over_go_too() -> None:
    collection, records = collection_and_records()
    collection.insert_many([{"jobId": word, "status": "completed"} for word in ("older", "another")])
    await records.write(*case(Kind.TRANSCRIPTION))
    discard = DeletionTombstone(
        uid="abc", prefixes=("a/",), job_ids=("abc", "older"), bought_under="ns/Transcription/it/"
    )
    await records.mark_discarded(discard)
    marked = {record["jobId"] for record in collection.find({"discard.uid": "abc"})}
    assert marked == {"abc", "older"}
    assert await records.discard_of(DeletionMark(namespace="", uid="abc")) == discard
    await records.forget(discard)
    assert [record["jobId"] for record in collection.find()] == ["another"]


async def test_a_record_is_written_once_and_kept_up_to_date() -> None:
    collection, records = collection_and_records()
    for phase in (Phase.PROCESSING, Phase.COMPLETED, Phase.COMPLETED):
        await records.write(*case(Kind.TRANSCRIPTION, phase))
    (document,) = collection.find()
    assert document["status"] == "completed"
    resource, _ = case(Kind.TRANSCRIPTION)
    await records.write(resource, ResourceStatus())
    assert collection.count_documents({}) == 1, "before its first run there is nothing to tell"


@pytest.mark.parametrize("change", [{"$inc": {"revision": 1}}, {"$set": {"discard": {"uid": "abc"}}}, None])
async def test_a_write_after_another_writers_is_refused_once(change: dict[str, Any] | None) -> None:
    """It is compared with what this process wrote last, and then with what it reads. None: the record was deleted."""
    collection, records = collection_and_records()
    resource, status = case(Kind.TRANSCRIPTION, Phase.PROCESSING)
    further = [status.model_copy(update={"progress": progress}) for progress in (20, 40, 60, 80)]
    for each in further[:3]:
        await records.write(resource, each)
    if change is None:
        collection.delete_many({})
    else:
        collection.update_one({}, change)
    with pytest.raises(Conflict):
        await records.write(resource, further[3])
    await records.write(resource, further[3])
    assert [(document["progress"], document.get("discard")) for document in collection.find()] == [
        (80, {"uid": "abc"} if change and "$set" in change else None)
    ]
