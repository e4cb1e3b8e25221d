"""Creation of jobs: bodies of the legacy API, permissions, user, namespace, and Idempotency-Key."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from contentgen_contract.names import CALLER_ANNOTATION, Kind
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_contract.resources.spec import SPECS, parse_spec
from contentgen_contract.resources.status import OutputFile, ResourceStatus, VersionStatus
from contentgen_gateway.schemas import requests
from contentgen_simulation.api_server import rejection
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.request_corpus import NO_URLS

ANN = ("ann", "*", "*", "red")
ROBOT = "system:serviceaccount:green:robot"
TRAIN: dict[str, Any] = {
    "videoUrl": "https://example.com/talk.mp4",
    "loraName": "jesse_avatar",
    "triggerWord": "jf",
    "metadata": {"tags": ["avatar", "headshot"], "description": "Jesse", "isPublic": False},
}
GENERATE: dict[str, Any] = {
    "model": "flux-lora",
    "inputs": {
        "prompt": "Professional headshot of jf in a suit",
        "loras": [{"path": "https://example.com/m.safetensors", "scale": 0.8}],
    },
}
TRANSCRIBE: dict[str, Any] = {"audioUrl": "https://example.com/podcast.mp3"}
BODIES = {"/api/lora/train": TRAIN, "/api/images/generate": GENERATE, "/api/transcribe": TRANSCRIBE}
KINDS = dict(zip(BODIES, Kind, strict=True))
ORDERS = {
    Kind.LORA_TRAINING: requests.TrainOrder,
    Kind.IMAGE_GENERATION: requests.GenerateOrder,
    Kind.TRANSCRIPTION: requests.TranscribeOrder,
}


@pytest.fixture
def world() -> WritableWorld:
    return WritableWorld(ANN, (ROBOT, "*", "*", "green"), ("bob", "*", "*", "blue"))


def only(world: WritableWorld) -> dict[str, Any]:
    (body,) = world.api.resources.values()
    return body


async def sent(world: WritableWorld, body: dict[str, Any], path: str = "/api/lora/train", who: str = "ann") -> Any:
    async with world.client(who) as client:
        return await client.post(path, json={"namespace": "red"} | body)


@pytest.mark.parametrize("url", NO_URLS)
async def test_invalid_url_is_refused_with_its_field(world: WritableWorld, url: str) -> None:
    for path, body, field in (
        ("/api/lora/train", TRAIN | {"videoUrl": url}, "videoUrl"),
        ("/api/transcribe", {"audioUrl": url}, "audioUrl"),
        ("/api/transcribe", {"source": {"url": url}}, "source.url"),
        ("/api/images/generate", {"model": "flux-lora", "prompt": "jf", "loras": [{"path": url}]}, "loras.0.path"),
    ):
        answer = await sent(world, body, path)
        assert answer.status_code == 422, (path, answer.text)
        assert field in answer.json()["detail"]
    assert not world.api.resources


# Request bodies


@pytest.mark.parametrize("path", BODIES)
async def test_the_seeds_bodies_make_resources(world: WritableWorld, path: str) -> None:
    answer = await sent(world, BODIES[path], path)
    assert answer.status_code == 202, answer.text
    made = only(world)
    assert answer.json()["jobId"] == made["metadata"]["uid"]
    assert answer.headers["location"] == f"/api/jobs/{made['metadata']['uid']}"
    assert (answer.json()["status"], answer.json()["type"]) == ("queued", KINDS[path].record_type)
    assert made["metadata"]["annotations"] == {CALLER_ANNOTATION: "ann"}
    parse_spec(KINDS[path], made["spec"])


async def test_a_training_says_all_that_was_asked_for_and_no_more(world: WritableWorld) -> None:
    training = {"style": "Subject", "model": "fal-ai/flux-lora-portrait-trainer"}
    more = {"steps": 900, "learningRate": 0.0004, "dataset": {"minImages": 12}, "training": training}
    assert (await sent(world, TRAIN | more)).status_code == 202
    assert only(world)["spec"] == {
        "loraName": "jesse_avatar",
        "triggerWord": "jf",
        "source": {"url": "https://example.com/talk.mp4"},
        "dataset": {"minImages": 12},
        "training": training | {"steps": 900, "learningRate": "0.0004"},
        "metadata": TRAIN["metadata"],
    }
    assert only(world)["metadata"]["name"].startswith("jesse-avatar-")


async def test_a_lora_answers_to_its_name_where_no_other_word_is_given(world: WritableWorld) -> None:
    seeds = {name: value for name, value in TRAIN.items() if name != "triggerWord"}
    assert (await sent(world, seeds | {"loraName": "jesse.avatar-" + "x" * 30})).status_code == 202
    assert only(world)["spec"]["triggerWord"] == "jesse_avatar-" + "x" * 19


def test_the_default_of_the_trigger_word_is_documented() -> None:
    """The seeds' bodies have no trigger word, so it stays optional."""
    fields = ORDERS[Kind.LORA_TRAINING].model_json_schema(by_alias=True)["properties"]
    assert "If both are left out, it is `loraName`" in fields["triggerWord"]["description"]
    assert fields["trigger"]["description"] == "Same as `triggerWord`."


async def test_fals_words_for_pictures(world: WritableWorld) -> None:
    inputs = {"prompt": "a cat", "image_size": "portrait_4_3", "num_images": 2, "output_format": "jpeg", "seed": 7}
    assert (await sent(world, {"inputs": inputs}, "/api/images/generate")).status_code == 202
    assert only(world)["spec"] == {
        "prompt": "a cat",
        "image": {"size": {"width": 768, "height": 1024}, "count": 2, "format": "jpeg", "seed": 7},
    }


@pytest.mark.parametrize("kind", Kind)
def test_everything_of_our_specs_can_be_said(kind: Kind) -> None:
    assert SPECS[kind].model_fields.keys() <= ORDERS[kind].model_fields.keys()


@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        ("/api/lora/train", {"stepz": 3}, "stepz"),
        ("/api/lora/train", {"metadata": {"tag": ["x"]}}, "metadata.tag"),
        ("/api/lora/train", {"dataset": {"minImages": 3}}, "dataset.minImages"),
        ("/api/lora/train", {"dataset": {"captions": {"template": "a photo"}}}, "[trigger]"),
        ("/api/lora/train", {"trigger": "jf"}, "exactly one of triggerWord, trigger"),
        ("/api/lora/train", {"videoUrl": None}, "exactly one of videoUrl, source"),
        ("/api/lora/train", {"videoUrl": "ftp://x/y"}, "videoUrl"),
        ("/api/lora/train", {"userId": "../x"}, "userId"),
        ("/api/lora/train", {"userId": {"$ne": 1}}, "userId"),
        ("/api/lora/train", {"namespace": "../x"}, "namespace"),
        ("/api/images/generate", {"inputs": {"prompt": "x", "guidance": 3}}, "inputs.guidance"),
        ("/api/images/generate", {"prompt": "x"}, "prompt must not be given beside inputs"),
        ("/api/images/generate", {"model": "flux-pro"}, "loras: needs a model that takes LoRAs"),
        ("/api/images/generate", {"inputs": {"prompt": "x", "loras": [{"path": "s3://b/k"}]}}, "loras.0.path"),
        ("/api/images/generate", {"inputs": {"prompt": "x", "loras": [{"path": "https://h/a.ckpt"}]}}, "a pickle"),
        ("/api/images/generate", {"inputs": {"prompt": "x", "loras": [{"path": "https://hf.co/a/b"}]}}, "resolve/main"),
        ("/api/images/generate", {"inputs": {"prompt": "x", "loras": [{"path": "https://h", "scale": True}]}}, "scale"),
        ("/api/lora/train", {"learningRate": True}, "learningRate"),
        ("/api/transcribe", {"url": "https://h/x"}, "exactly one of audioUrl"),
        ("/api/transcribe", {"options": {"formats": []}}, "options.formats"),
    ],
)
async def test_invalid_field_is_named(world: WritableWorld, path: str, change: dict[str, Any], named: str) -> None:
    answer = await sent(world, BODIES[path] | change, path)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]
    assert world.api.resources == {}


async def test_the_api_servers_refusal_is_told_in_its_own_words(world: WritableWorld) -> None:
    async with world.client("ann") as ann:
        first = await ann.post("/api/transcribe", json=TRANSCRIBE | {"namespace": "red", "name": "mine"})
        second = await ann.post("/api/transcribe", json=TRANSCRIBE | {"namespace": "red", "name": "mine"})
    assert (first.status_code, second.status_code) == (202, 409)
    assert "already exists" in second.json()["detail"]


async def test_a_job_just_made_is_seen_before_it_has_a_record(world: WritableWorld) -> None:
    answer = await sent(world, TRAIN)
    async with world.client("ann") as ann, world.client("bob") as bob:
        seen = await ann.get(answer.headers["location"])
        assert (await bob.get(answer.headers["location"])).status_code == 404
        assert (await ann.post(f"{answer.headers['location']}/cancel?wait=0")).status_code == 202
    assert (seen.status_code, seen.json()["status"], seen.json()["config"]["loraName"]) == (
        200,
        "queued",
        "jesse_avatar",
    )
    assert world.database["jobs"].count_documents({}) == 0


# Namespace and user


async def test_job_is_created_in_the_named_or_the_callers_namespace(world: WritableWorld) -> None:
    async with world.client(ROBOT) as robot, world.client("ann") as ann:
        assert (await robot.post("/api/transcribe", json=TRANSCRIBE)).json()["namespace"] == "green"
        nowhere = await ann.post("/api/transcribe", json=TRANSCRIBE)
    assert nowhere.status_code == 422
    assert nowhere.json()["detail"].startswith("namespace:")


async def test_in_an_installation_for_one_namespace_it_is_that_one() -> None:
    world = WritableWorld(ANN, (ROBOT, "*", "*", "red"), watch_namespaces=("red",))
    assert (await sent(world, {"namespace": None} | TRAIN | {"namespace": None})).json()["namespace"] == "red"
    async with world.client(ROBOT) as robot:
        assert (await robot.post("/api/transcribe", json=TRANSCRIBE)).json()["namespace"] == "red"
    assert (await sent(world, TRAIN | {"namespace": "blue"})).status_code == 422


async def test_installation_for_some_namespaces_creates_only_there() -> None:
    """The operator would never process a resource elsewhere. The response names no other tenant's namespaces."""
    rights = [("ann", "*", "*", word) for word in ("red", "blue", "green")]
    world = WritableWorld(*rights, (ROBOT, "*", "*", "green"), watch_namespaces=("red", "blue"))
    for namespace in ("red", "blue"):
        assert (await sent(world, TRAIN | {"namespace": namespace})).json()["namespace"] == namespace
    refused = await sent(world, TRAIN | {"namespace": "green"})
    assert refused.status_code == 422
    assert "watchNamespaces" in refused.json()["detail"]
    assert "blue" not in refused.text
    async with world.client(ROBOT) as robot:
        assert (await robot.post("/api/transcribe", json=TRANSCRIBE)).status_code == 422, "it is at home elsewhere"
    assert {place[0] for place in world.api.resources} == {"red", "blue"}


async def test_in_an_installation_for_labels_it_is_where_these_are() -> None:
    selector = LabelSelector(match_labels={"a": "b"})
    world = WritableWorld(ANN, ("ann", "*", "*", "blue"), watch_namespace_selector=selector)
    assert (await sent(world, TRAIN | {"namespace": "red"})).status_code == 422
    world.dependencies.namespaces._uids["red"] = "u"
    assert (await sent(world, TRAIN | {"namespace": "red"})).status_code == 202
    assert (await sent(world, TRAIN | {"namespace": "blue"})).status_code == 422


@pytest.mark.parametrize("who", ["bob", "carol"])
async def test_caller_without_the_right_to_create_is_refused(world: WritableWorld, who: str) -> None:
    assert (await sent(world, TRAIN, who=who)).status_code == 403
    assert world.api.resources == {}


async def test_right_to_name_a_user_is_the_admission_policys() -> None:
    """The admission policy sees the gateway's service account only, so the gateway checks the caller."""
    world = WritableWorld(("ann", "create", "*", "red"))
    for user, status in (("red", 202), (None, 202), ("user-1", 403)):
        answer = await sent(world, TRAIN | {"userId": user})
        assert answer.status_code == status, answer.text
    assert "verb use on userids.contentgen.dev" in answer.json()["detail"]
    assert {resource["spec"].get("userId") for resource in world.api.resources.values()} == {"red", None}
    allowed = WritableWorld(("ann", "create", "*", "red"), ("ann", "use", "userids", "red"))
    assert (await sent(allowed, TRAIN | {"userId": "user-1"})).status_code == 202
    review = allowed.api.reviews[-1]
    assert (review["verb"], review["resource"], review["name"]) == ("use", "userids", "user-1")


# Idempotency keys


@pytest.mark.parametrize("path", BODIES)
async def test_a_key_makes_one_job_however_many_ask_at_a_time(world: WritableWorld, path: str) -> None:
    async with world.client("ann") as ann:

        async def ask() -> Any:
            body = BODIES[path] | {"namespace": "red"}
            return await ann.post(path, json=body, headers={"Idempotency-Key": "order-7"})

        answers = await asyncio.gather(*(ask() for _ in range(40)))
        answers.append(await ask())
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["jobId"] for answer in answers} == {only(world)["metadata"]["uid"]}
    assert [method for method, _ in world.api.written] == ["POST"]


async def test_a_key_for_another_body_is_refused(world: WritableWorld) -> None:
    async with world.client("ann") as ann:

        async def ask(**change: Any) -> Any:
            body = TRAIN | {"namespace": "red"} | change
            return await ann.post("/api/lora/train", json=body, headers={"Idempotency-Key": "order-7"})

        answers = await asyncio.gather(ask(), *(ask(loraName=f"other{number}") for number in range(10)))
        assert sorted(answer.status_code for answer in answers) == [202] + [422] * 10
        refused = next(answer for answer in answers if answer.status_code == 422)
        assert "order-7" in refused.json()["detail"]
        assert (await ask(name="mine")).status_code == 422
    only(world)


async def test_keys_are_their_callers(world: WritableWorld) -> None:
    world.api.rights.add(("bob", "*", "*", "red"))
    for who in ("ann", "bob"):
        async with world.client(who) as client:
            headers = {"Idempotency-Key": "1"}
            await client.post("/api/transcribe", json=TRANSCRIBE | {"namespace": "red"}, headers=headers)
    assert len(world.api.resources) == 2


async def test_without_a_key_each_request_makes_a_job(world: WritableWorld) -> None:
    for _ in range(3):
        await sent(world, TRAIN)
    assert len(world.api.resources) == 3


# A model of our own


def trained(world: WritableWorld, versions: int = 2) -> str:
    """jobId of a LoraTraining with that many versions."""
    job = world.job(1, name="jesse")
    made = tuple(
        VersionStatus(
            version=each,
            job_id=job,
            files=(OutputFile(key=f"loras/ann/{job}/v{each}/model.safetensors", size_bytes=1),),
        )
        for each in range(1, versions + 1)
    )
    world.resource(Kind.LORA_TRAINING, "jesse", job, ResourceStatus(versions=made))
    return job


def drawn(path: str) -> dict[str, Any]:
    return {"model": "flux-lora", "inputs": {"prompt": "jf", "loras": [{"path": path, "scale": 0.8}]}}


@pytest.mark.parametrize(
    "address",
    [
        "http://s3.test/assets/loras/ann/{}/v2/model.safetensors",
        "http://s3.test/assets/loras/ann/{}/v2/model.safetensors?X-Amz-Signature=secret",
        "https://assets.s3.amazonaws.com/loras/ann/{}/v2/model.safetensors",
        "s3://assets/loras/ann/{}/v2/model.safetensors",
    ],
)
async def test_the_address_of_our_own_model_names_its_training(world: WritableWorld, address: str) -> None:
    """The bucket is private and no signed URL is stored, so the provider could not fetch it."""
    job = trained(world)
    answer = await sent(world, drawn(address.format(job)), "/api/images/generate")
    assert answer.status_code == 202, answer.text
    made = world.api.resources["red", Kind.IMAGE_GENERATION.plural, answer.json()["name"]]
    assert made["spec"]["loras"] == [{"loraRef": {"name": "jesse"}, "scale": "0.8"}]


async def test_repeated_request_is_the_same_despite_a_newer_lora(world: WritableWorld) -> None:
    job = trained(world, 1)
    body = drawn(f"http://s3.test/assets/loras/ann/{job}/v1/model.safetensors") | {"namespace": "red"}
    async with world.client("ann") as ann:
        first = await ann.post("/api/images/generate", json=body, headers={"Idempotency-Key": "1"})
        del world.api.resources["red", Kind.LORA_TRAINING.plural, "jesse"]
        world.database["jobs"].delete_many({})
        trained(world, 2)
        second = await ann.post("/api/images/generate", json=body, headers={"Idempotency-Key": "1"})
    assert (first.status_code, second.json()["jobId"]) == (202, first.json()["jobId"])


async def test_unusable_reference_is_refused_before_the_creation(world: WritableWorld) -> None:
    job = trained(world)
    address = f"http://s3.test/assets/loras/ann/{job}/v1/model.safetensors?X-Amz-Signature=secret"
    old = await sent(world, drawn(address), "/api/images/generate")
    assert old.status_code == 422
    assert "newest version" in old.json()["detail"]
    assert "secret" not in old.text
    del world.api.resources["red", Kind.LORA_TRAINING.plural, "jesse"]
    gone = await sent(world, drawn(address.replace("v1", "v2")), "/api/images/generate")
    assert (gone.status_code, "is deleted" in gone.json()["detail"]) == (422, True)
    other = await sent(world, drawn("http://s3.test/assets/transcripts/x"), "/api/images/generate")
    assert other.status_code == 422
    assert world.api.resources == {}


EXPIRED = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("record", "version", "code"),
    [
        ({"expiredAt": EXPIRED}, 2, 202),
        ({"expiredAt": EXPIRED}, 1, 422),
        ({"expiredAt": EXPIRED, "adoptedBy": "another"}, 2, 422),
        ({"expiredAt": EXPIRED, "versions": []}, 2, 422),
        ({"expiredAt": "now"}, 2, 422),
        ({}, 2, 422),
    ],
)
async def test_a_lora_whose_resource_has_expired_is_usable(
    world: WritableWorld, record: dict[str, Any], version: int, code: int
) -> None:
    """Not one that a person has deleted, and the newest version alone."""
    job = trained(world)
    del world.api.resources["red", Kind.LORA_TRAINING.plural, "jesse"]
    made = [{"version": number, "s3Key": f"loras/ann/{job}/v{number}/model.safetensors"} for number in (1, 2)]
    world.database["jobs"].update_one({"jobId": job}, {"$set": {"versions": made} | record})
    address = f"http://s3.test/assets/loras/ann/{job}/v{version}/model.safetensors"
    answer = await sent(world, drawn(address), "/api/images/generate")
    assert answer.status_code == code, answer.text


async def test_a_foreign_model_looks_like_a_missing_one(world: WritableWorld) -> None:
    job = trained(world)
    address = "http://s3.test/assets/loras/ann/{}/v2/model.safetensors"
    foreign, missing = [
        await sent(world, drawn(address.format(each)) | {"namespace": "blue"}, "/api/images/generate", "bob")
        for each in (job, "none")
    ]
    assert foreign.status_code == missing.status_code == 422
    assert foreign.json()["detail"].replace(job, "X") == missing.json()["detail"].replace("none", "X")


SECRET_URLS = ("https://u:hunter2@h.example/a.mp3", "HTTPS://u@h.example/a?sig=hunter2", "u:hunter2@h.example/a")


@pytest.mark.parametrize("url", SECRET_URLS)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/transcribe", lambda url: {"audioUrl": url}),
        ("/api/lora/train", lambda url: {"loraName": "a", "source": {"url": url}}),
        (
            "/api/images/generate",
            lambda url: {"inputs": {"prompt": "a", "loras": [{"path": url}]}, "model": "flux-lora"},
        ),
    ],
)
async def test_no_refusal_repeats_a_password(world: WritableWorld, path: str, body: Any, url: str) -> None:
    async with world.client("ann") as ann:
        answer = await ann.post(path, json={"namespace": "red"} | body(url))
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


async def test_the_api_servers_words_are_told_without_secrets(
    world: WritableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Admission policies of a cluster may repeat the value."""
    words = 'url: Invalid value: "https://u:hunter2@h.example/a?sig=hunter2": is not wanted here'

    def refuses(*_: object) -> None:
        raise rejection(422, words)

    monkeypatch.setattr(world.api, "_create", refuses)
    async with world.client("ann") as ann:
        answer = await ann.post("/api/transcribe", json={"namespace": "red", "audioUrl": "https://h.example/a.mp3"})
    assert answer.status_code == 422
    assert "is not wanted here" in answer.json()["detail"]
    assert "hunter2" not in answer.text
