"""Answers of the sandbox for every model and many options against the facts; those of endpoints are in unit/facts."""

import io
import struct
import time
import wave
import zipfile
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from contentgen_sandbox.fal import lora
from contentgen_sandbox.fal.endpoints import ENDPOINTS, FalEndpoint
from contentgen_sandbox.testing import PATIENCE_S, SandboxServer
from contentgen_simulation.facts import PublishedFacts, load

FAL = load("fal/platform.json")
SPEECH = load("assemblyai/transcript.json")
KEY = {"Authorization": "Key test"}
SPEECH_KEY = {"authorization": "test"}
SMALL = {"width": 512, "height": 512}


@pytest.fixture(scope="module")
def media(server: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """URLs of inputs."""
    picture, archive, sound = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    with zipfile.ZipFile(archive, "w") as zipped:
        for index in range(4):
            zipped.writestr(f"{index}.png", picture.getvalue())
            zipped.writestr(f"{index}.txt", "a photo of jf")
    with wave.open(sound, "wb") as recorded:
        recorded.setnchannels(1)
        recorded.setsampwidth(2)
        recorded.setframerate(8000)
        recorded.writeframes(struct.pack("<h", 1) * 16_000)
    dataset = lora.LoraDataset(4, 4, ())
    weights, _ = lora.write(tmp_path_factory.mktemp("lora"), lora.LoraRecipe("jf", 100, False), dataset, 1)
    contents = {
        "picture": picture.getvalue(),
        "dataset": archive.getvalue(),
        "sound": sound.getvalue(),
        "lora": weights.read_bytes(),
    }
    return {name: server.put_media(f"facts-{name}", content) for name, content in contents.items()}


@pytest.fixture(autouse=True)
def _clean(server: SandboxServer) -> None:
    server.reset()


def check(facts: PublishedFacts, endpoint: str, reply: httpx.Response) -> httpx.Response:
    """The reply, which fits the facts about the endpoint's answers."""
    assert facts.answer_problems(endpoint, reply) == [], reply.text[:500]
    return reply


def inputs(endpoint: FalEndpoint, media: Mapping[str, str]) -> dict[str, Any]:
    """Small request with the required inputs."""
    found: dict[str, Any] = {"prompt": "a lighthouse"}
    for name in endpoint.document["input"]["required"]:
        if name == "loras":
            found[name] = [{"path": media["lora"]}]
        elif name != "prompt":
            url = media["dataset" if name in endpoint.inputs("dataset") else "picture"]
            found[name] = [url] if name == "image_urls" else url
    properties = endpoint.document["input"]["properties"]
    found |= {name: SMALL for name in ("image_size", "video_size") if name in properties}
    found |= {name: properties[name]["minimum"] for name in ("num_frames",) if name in properties}
    return {name: value for name, value in found.items() if name in properties}


def ended(accepted: Mapping[str, Any]) -> httpx.Response:
    """Last answer of the status; each one fits the facts."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status = httpx.get(accepted["status_url"], headers=KEY, params={"logs": "true"})
        check(FAL, "status", status)
        if status.status_code == 200:
            return status
        assert time.monotonic() < deadline


def submit(server: SandboxServer, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    reply = httpx.post(f"{server.fal_queue_url}{model}", json=body, headers=KEY)
    accepted: dict[str, Any] = check(FAL, "submit", reply).json()
    return accepted


@pytest.mark.parametrize("name", ENDPOINTS)
def test_output_of_each_model(server: SandboxServer, media: Mapping[str, str], name: str) -> None:
    endpoint = ENDPOINTS[name]
    accepted = submit(server, name, inputs(endpoint, media))
    ended(accepted)
    result = check(FAL, "result", httpx.get(accepted["response_url"], headers=KEY))
    assert result.status_code == 200, result.text
    Draft202012Validator(endpoint.output).validate(result.json())
    assert result.json().keys() <= endpoint.output["properties"].keys()
    paid = result.json()[endpoint.document["result"]]
    for file in paid if isinstance(paid, list) else [paid]:
        assert httpx.get(file["url"]).status_code == 200


@pytest.mark.parametrize("name", ENDPOINTS)
def test_refusal_of_each_model(server: SandboxServer, name: str) -> None:
    accepted = submit(server, name, {"prompt": 1, **dict.fromkeys(ENDPOINTS[name].inputs("dataset"), 1)})
    ended(accepted)
    assert check(FAL, "result", httpx.get(accepted["response_url"], headers=KEY)).status_code == 422
    assert server.ledger()["total_usd"] == "0"


def test_lora_of_another_family_is_refused(server: SandboxServer, media: Mapping[str, str]) -> None:
    trained = submit(server, "fal-ai/krea-2-trainer", {"images_data_url": media["dataset"]})
    ended(trained)
    url = httpx.get(trained["response_url"], headers=KEY).json()["lora_file"]["url"]
    for model, code in (("fal-ai/flux-lora", 422), ("fal-ai/krea-2/turbo/lora", 200)):
        accepted = submit(server, model, {"prompt": "x", "image_size": SMALL, "loras": [{"path": url}]})
        ended(accepted)
        assert check(FAL, "result", httpx.get(accepted["response_url"], headers=KEY)).status_code == code


def test_cancelled_locked_and_unknown_path(server: SandboxServer) -> None:
    server.arm({"fault": "stuck"})
    stuck = submit(server, "fal-ai/flux/dev", {"prompt": "x"})
    assert check(FAL, "cancel", httpx.put(stuck["cancel_url"], headers=KEY)).status_code == 202
    assert check(FAL, "result", httpx.get(stuck["response_url"], headers=KEY)).status_code == 499
    path = submit(server, "fal-ai/flux/none", {})
    ended(path)
    assert check(FAL, "result", httpx.get(path["response_url"], headers=KEY)).status_code == 404
    server.arm({"fault": "locked_account"}, {"fault": "refuse_429"})
    assert check(FAL, "status", httpx.get(stuck["status_url"], headers=KEY)).status_code == 403
    refused = httpx.post(f"{server.fal_queue_url}fal-ai/flux/dev", json={"prompt": "x"}, headers=KEY)
    assert check(FAL, "submit", refused).status_code == 429


def test_prices_of_all_models(server: SandboxServer) -> None:
    priced = [name for name, endpoint in ENDPOINTS.items() if endpoint.price is not None]
    params = {"endpoint_id": ",".join(priced)}
    reply = httpx.get(f"{server.fal_api_url}/v1/models/pricing", params=params, headers=KEY)
    assert [row["endpoint_id"] for row in check(FAL, "pricing", reply).json()["prices"]] == priced


OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"speaker_labels": True, "speakers_expected": 2},
    {"language_detection": True, "webhook_url": "https://hooks.example/a?job=1"},
    {"language_code": "de", "keyterms_prompt": ["contentgen"], "punctuate": True, "format_text": True},
    {"webhook_url": "https://hooks.example/", "webhook_auth_header_name": "X", "webhook_auth_header_value": "y"},
    {"custom_spelling": [{"from": ["a"], "to": "b"}], "redact_pii": True, "redact_pii_policies": ["person_name"]},
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options) or "none")
def test_transcript_in_each_state(server: SandboxServer, media: Mapping[str, str], options: dict[str, Any]) -> None:
    base = f"{server.assemblyai_url}/v2/transcript"
    body = {"audio_url": media["sound"], "speech_models": ["universal-2"]} | options
    assert SPEECH.problems(SPEECH.definitions["TranscriptParams"], body) == []
    made = check(SPEECH, "create", httpx.post(base, json=body, headers=SPEECH_KEY)).json()
    url = f"{base}/{made['id']}"
    deadline = time.monotonic() + PATIENCE_S
    while (now := check(SPEECH, "get", httpx.get(url, headers=SPEECH_KEY)).json())["status"] != "completed":
        assert now["status"] in ("queued", "processing")
        assert time.monotonic() < deadline
    for endpoint in ("sentences", "paragraphs"):
        assert check(SPEECH, endpoint, httpx.get(f"{url}/{endpoint}", headers=SPEECH_KEY)).status_code == 200
    check(SPEECH, "list", httpx.get(base, headers=SPEECH_KEY))
    gone = check(SPEECH, "delete", httpx.delete(url, headers=SPEECH_KEY)).json()
    assert gone["audio_url"] == SPEECH.document["endpoints"]["delete"]["marks"]["audio_url"]
    check(SPEECH, "list", httpx.get(base, headers=SPEECH_KEY))


def test_errors_of_assemblyai(server: SandboxServer, media: Mapping[str, str]) -> None:
    base = f"{server.assemblyai_url}/v2/transcript"
    for wrong in ({"unknown": 1}, {"speech_model": "best"}, {"speech_models": ["universal-3-pro"]}):
        body = {"audio_url": media["sound"]} | wrong
        assert check(SPEECH, "create", httpx.post(base, json=body, headers=SPEECH_KEY)).status_code == 400
    missing = {"audio_url": f"{server.url}/media/missing", "speech_models": ["universal-2"]}
    url = f"{base}/{httpx.post(base, json=missing, headers=SPEECH_KEY).json()['id']}"
    deadline = time.monotonic() + PATIENCE_S
    while (now := check(SPEECH, "get", httpx.get(url, headers=SPEECH_KEY)).json())["status"] != "error":
        assert time.monotonic() < deadline
    assert "Download error" in now["error"]
    check(SPEECH, "list", httpx.get(base, headers=SPEECH_KEY))
