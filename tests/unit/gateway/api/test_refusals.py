"""Texts of refused requests: field, value, expectation, nearest valid name."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from contentgen_contract import patterns
from contentgen_contract.names import Kind
from contentgen_contract.resources.models import SHORT_NAMES, short_name_error
from contentgen_contract.resources.spec_checks import BLANK, NO_CONTROL_CHARACTERS
from contentgen_gateway.app import document
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import GatewayWorld

TRAIN: dict[str, Any] = {
    "namespace": "red",
    "loraName": "face",
    "trigger": "jf",
    "videoUrl": "https://example.com/talk.mp4",
}
GENERATE: dict[str, Any] = {"namespace": "red", "prompt": "a lighthouse"}
TRANSCRIBE: dict[str, Any] = {"namespace": "red", "audioUrl": "https://example.com/talk.mp3"}
TRAINERS, IMAGE_MODELS = (", ".join(SHORT_NAMES[kind]) for kind in (Kind.LORA_TRAINING, Kind.IMAGE_GENERATION))
BODIES = {"/api/lora/train": TRAIN, "/api/images/generate": GENERATE, "/api/transcribe": TRANSCRIBE}


@pytest.fixture
def world() -> Iterator[WritableWorld]:
    made = WritableWorld(("ann", "*", "*", "red"))
    yield made
    assert made.api.resources == {}, "what is refused makes nothing"


async def refused(world: GatewayWorld, path: str, **request: Any) -> Any:
    """Problem of a refused request."""
    async with world.client("ann") as ann:
        answer = await ann.post(path, **request)
    assert answer.status_code == 422, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("path", "change", "detail"),
    [
        # unknown names
        ("/api/lora/train", {"userid": "ann"}, "userid: unknown field; did you mean userId?"),
        ("/api/lora/train", {"videoURL": "x"}, "videoURL: unknown field; did you mean videoUrl?"),
        (
            "/api/lora/train",
            {"dataset": {"faces": {"mod": "Prefer"}}},
            "dataset.faces.mod: unknown field; did you mean mode?",
        ),
        (
            "/api/lora/train",
            {"dataset": {"timeRanges": [{"start": "0"}, {"begin": "1"}]}},
            "dataset.timeRanges.1.begin: unknown field; the fields here are end, start",
        ),
        (
            "/api/images/generate",
            {"image": {"size": {"widht": 512}}},
            "image.size.widht: unknown field; did you mean width?",
        ),
        # patterns
        ("/api/lora/train", {"loraName": "a b"}, f"loraName: 'a b' {patterns.EXPECTATIONS[patterns.LORA_NAME]}"),
        (
            "/api/lora/train",
            {"learningRate": "1e-4"},
            f"learningRate: '1e-4' {patterns.EXPECTATIONS[patterns.DECIMAL]}",
        ),
        ("/api/lora/train", {"namespace": "Red"}, f"namespace: 'Red' {patterns.EXPECTATIONS[patterns.OBJECT_NAME]}"),
        (
            "/api/transcribe",
            {"options": {"language": "English"}},
            f"options.language: 'English' {patterns.EXPECTATIONS[patterns.LANGUAGE]}",
        ),
        (
            "/api/transcribe",
            {"options": {"language": "pt-BR"}},
            "options.language: pt-BR must be a language code of AssemblyAI, such as en, en_us or pt; did you mean pt?",
        ),
        (
            "/api/transcribe",
            {"options": {"language": "pt_br"}},
            "options.language: pt_br must be a language code of AssemblyAI, such as en, en_us or pt; did you mean pt?",
        ),
        # enumerations
        (
            "/api/lora/train",
            {"dataset": {"faces": {"mode": "Prefered"}}},
            "dataset.faces.mode: 'Prefered' must be Ignore, Prefer or Require; did you mean Prefer?",
        ),
        (
            "/api/images/generate",
            {"image": {"format": "gif"}},
            "image.format: 'gif' must be png or jpeg",
        ),
        # numbers
        ("/api/lora/train", {"steps": 0}, "steps: 0 must be at least 1"),
        ("/api/lora/train", {"steps": 10001}, "steps: 10001 must be at most 10000"),
        ("/api/lora/train", {"steps": "many"}, "steps: 'many' must be a whole number"),
        ("/api/images/generate", {"image": {"size": {"width": 513}}}, "image.size.width: 513 must be a multiple of 8"),
        # lengths and shapes
        ("/api/images/generate", {"prompt": ""}, "prompt: '' must have at least 1 character"),
        ("/api/transcribe", {"options": {"formats": []}}, "options.formats: must have at least 1 item"),
        ("/api/lora/train", {"dataset": 7}, "dataset: 7 must be an object"),
        ("/api/lora/train", {"metadata": {"tags": "a"}}, "metadata.tags: 'a' must be a list"),
        ("/api/lora/train", {"loraName": 7}, "loraName: 7 must be a text in quotes"),
        ("/api/lora/train", {"suspend": "perhaps"}, "suspend: 'perhaps' must be true or false"),
        # several forms of one field
        (
            "/api/images/generate",
            {"prompt": None, "inputs": {"prompt": "x", "image_size": "squar"}},
            (
                "inputs.image_size: 'squar' must be an object, or square_hd, square, portrait_4_3, portrait_16_9, "
                "landscape_4_3 or landscape_16_9; did you mean square?"
            ),
        ),
        # rules over several fields
        ("/api/lora/train", {"source": {"url": "https://h/x"}}, "body: exactly one of videoUrl, source must be given"),
        # fields of the spec, by the names that were sent
        (
            "/api/images/generate",
            {"prompt": None, "inputs": {"prompt": " "}},
            "inputs.prompt: ' ' must contain a character other than spaces and invisible ones",
        ),
        (
            "/api/images/generate",
            {"prompt": None, "inputs": {"prompt": "a\u0000b"}},
            f"inputs.prompt: contains U+0000; it {NO_CONTROL_CHARACTERS}",
        ),
        (
            "/api/images/generate",
            {"prompt": None, "inputs": {"prompt": "a", "loras": [{"path": "https://h/a", "scale": 0}]}},
            "inputs.loras[0].scale: '0' must be greater than 0, such as 0.8: with 0 the LoRA has no effect",
        ),
        ("/api/images/generate", {"prompt": " "}, f"prompt: ' ' {BLANK}"),
        # booleans
        ("/api/lora/train", {"steps": True}, "steps: true must be a whole number"),
        ("/api/images/generate", {"image": {"count": True}}, "image.count: true must be a whole number"),
        ("/api/images/generate", {"image": {"seed": False}}, "image.seed: false must be a whole number"),
        (
            "/api/images/generate",
            {"prompt": None, "inputs": {"prompt": "a", "num_images": True}},
            "inputs.num_images: true must be a whole number",
        ),
        # unknown model
        (
            "/api/images/generate",
            {"model": "sdxl"},
            (f"model: 'sdxl' must be a short name ({IMAGE_MODELS}) or a full fal model id such as fal-ai/flux/dev"),
        ),
        (
            "/api/images/generate",
            {"model": "flux-shnell"},
            (
                f"model: 'flux-shnell' must be a short name ({IMAGE_MODELS}) or a full fal "
                "model id such as fal-ai/flux/dev; did you mean flux-schnell?"
            ),
        ),
        (
            "/api/lora/train",
            {"training": {"model": "flux-dev"}},
            (
                f"training.model: 'flux-dev' must be a short name ({TRAINERS}) or a full fal model id "
                "such as fal-ai/flux-lora-portrait-trainer"
            ),
        ),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
async def test_refusal_has_field_value_expectation_and_nearest_name(
    world: WritableWorld, path: str, change: dict[str, Any], detail: str
) -> None:
    problem = await refused(world, path, json=BODIES[path] | change)
    assert problem["detail"] == detail
    assert problem["errors"][0]["loc"][0] == "body"


async def test_a_field_that_is_left_out_is_named(world: WritableWorld) -> None:
    body = {key: value for key, value in TRAIN.items() if key != "loraName"}
    assert (await refused(world, "/api/lora/train", json=body))["detail"] == "loraName: must be given"


async def test_each_wrong_field_is_named(world: WritableWorld) -> None:
    problem = await refused(world, "/api/lora/train", json=TRAIN | {"loraName": "a b", "stpes": 3})
    assert {(tuple(error["loc"]), error["msg"]) for error in problem["errors"]} == {
        (("body", "loraName"), patterns.EXPECTATIONS[patterns.LORA_NAME]),
        (("body", "stpes"), "unknown field; did you mean steps?"),
    }


@pytest.mark.parametrize(
    "url",
    ["https://ann:hunter2@example.com/talk.mp4", "ftp://h/x?X-Amz-Signature=hunter2", "ann:hunter2@example.com/x"],
)
async def test_an_address_is_never_repeated(world: WritableWorld, url: str) -> None:
    """A source URL may contain a password or a signature, and clients log problem responses."""
    problem = await refused(world, "/api/lora/train", json=TRAIN | {"videoUrl": url})
    assert problem["detail"] == f"videoUrl: {patterns.EXPECTATIONS[patterns.SOURCE_URL]}"
    assert "hunter2" not in json.dumps(problem)


async def test_a_long_value_is_cut(world: WritableWorld) -> None:
    problem = await refused(world, "/api/lora/train", json=TRAIN | {"loraName": "x y" * 10_000})
    assert len(json.dumps(problem)) < 1000
    many = await refused(world, "/api/lora/train", json=TRAIN | {f"x{number}" * 50: 1 for number in range(500)})
    assert len(json.dumps(many)) < 32_000


# Malformed JSON


async def test_malformed_json_says_where(world: WritableWorld) -> None:
    content = '{\n  "namespace": "red",\n  loraName: "face"\n}'
    problem = await refused(world, "/api/lora/train", content=content, headers={"Content-Type": "application/json"})
    assert problem["detail"] == (
        "body: not JSON: Expecting property name enclosed in double quotes, at line 3, column 3"
    )


@pytest.mark.parametrize("given", ["application/x-www-form-urlencoded", "text/yaml", "nonsense"])
async def test_another_content_type_says_what_is_expected(world: WritableWorld, given: str) -> None:
    """curl --data sends the content type of a form by default."""
    problem = await refused(world, "/api/lora/train", content=json.dumps(TRAIN), headers={"Content-Type": given})
    assert problem["detail"] == (
        f"Content-Type: {given!r} must be application/json, with the body as JSON: "
        "curl --header 'Content-Type: application/json' --data '{…}'"
    )


async def test_a_body_that_is_left_out_says_so(world: WritableWorld) -> None:
    assert (await refused(world, "/api/lora/train"))["detail"] == "body: must be given"


async def test_json_that_is_no_object_says_so(world: WritableWorld) -> None:
    assert (await refused(world, "/api/lora/train", json=[1]))["detail"] == "body: must be an object"


# Other uses of the same texts


async def test_parameters_headers_and_paths_are_told_in_words(world: WritableWorld) -> None:
    async with world.client("ann") as ann:
        listed = await ann.get("/api/jobs", params={"type": "lora", "limit": "0"})
        path = await ann.get("/api/jobs/NOT_A_NAME")
        header = await ann.post("/api/lora/train", json=TRAIN, headers={"Idempotency-Key": " "})
        wait = await ann.post("/api/jobs/x/cancel", params={"wait": "99"})
    assert {error["msg"] for error in listed.json()["errors"]} == {
        "must be lora-training, image-generation or transcription; did you mean lora-training?",
        "must be at least 1",
    }
    assert path.json()["detail"] == f"job_id: 'NOT_A_NAME' {patterns.EXPECTATIONS[patterns.OBJECT_NAME]}"
    assert "^" not in header.json()["detail"]
    assert wait.json()["detail"] == "wait: '99' must be at most 25"


def test_every_pattern_of_the_api_has_words() -> None:
    """Without a text the refusal would show the regular expression."""

    def found(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                yield part["pattern"]
            part = list(part.values())
        for element in part if isinstance(part, list) else ():
            yield from found(element)

    every = set(found(document()))
    assert len(every) > 5
    from contentgen_gateway.schemas.refusals import WORDS  # noqa: PLC0415 - beside what it is compared with

    assert every <= WORDS.keys()


def test_a_full_id_is_never_called_unknown() -> None:
    assert short_name_error(Kind.IMAGE_GENERATION, "somebody/else/model") is None
    for kind, names in SHORT_NAMES.items():
        for name in names:
            assert short_name_error(kind, name) is None


async def test_a_page_says_the_same(world: WritableWorld) -> None:
    job = world.job(1)
    async with world.client("ann") as ann:
        answer: httpx.Response = await ann.post(f"/jobs/{job}/edit", data={"tags": "a,$x"}, headers={"Accept": "*/*"})
    assert answer.json()["detail"] == f"tags.1: '$x' {patterns.EXPECTATIONS[patterns.TAG]}"
