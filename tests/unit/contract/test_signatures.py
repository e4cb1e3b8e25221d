"""No presigned URL is stored: not in the bucket, the records, the ledger, a status, an event or a log."""

import json
import logging
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_contract.records.presigned_urls import (
    strip_signatures,
    strip_signatures_from_text,
    without_signature,
)
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.base import Refused, Unavailable
from contentgen_operator.state.provider_requests import RequestState, RequestView
from contentgen_simulation.world import SPECS, UID, World, Writes

MARKS = ("X-Amz-Signature", "X-Amz-Credential", "AWSAccessKeyId")
QUERIES = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=id%2F20261121&X-Amz-Signature=abc",
    "AWSAccessKeyId=id&Signature=abc%3D&Expires=1",
    "response-content-type=a&x-amz-signature=abc",
)


@pytest.mark.parametrize("query", QUERIES)
def test_a_signature_is_taken_out_of_a_text(query: str) -> None:
    url = f"https://s3.example/bucket/transcripts/a/b/audio.flac?{query}"
    for text in (url, f'Download error, unable to download {url}, tried twice; "{url}"'):
        cleaned = strip_signatures_from_text(text)
        assert "abc" not in cleaned
        assert cleaned == text.replace(f"?{query}", "")


@pytest.mark.parametrize("text", ["https://fal.media/files/a.png", "https://h/a?b=c&d=e", "is X-Amz-Signature a word?"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert strip_signatures_from_text(text) == text


def test_a_document_keeps_the_addresses_that_are_needed() -> None:
    signed = f"https://cdn.example/out.png?{QUERIES[0]}"
    echoed = f"https://s3.example/bucket/loras/a/b/v1/model.safetensors?{QUERIES[0]}"
    document: Any = {"images": [{"url": signed, "width": 8}], "loras": [{"path": echoed}], "seed": 1, "n": None}
    assert strip_signatures(document, needed=frozenset({"url"})) == {
        "images": [{"url": signed, "width": 8}],
        "loras": [{"path": echoed.partition("?")[0]}],
        "seed": 1,
        "n": None,
    }
    assert "X-Amz" not in json.dumps(strip_signatures(document))


def everything(world: World, caplog: pytest.LogCaptureFixture) -> str:
    """All data that the run has stored."""
    parts = [world.storage.objects, world.kube.resources, world.kube.statuses, world.kube.jobs, world.notices]
    parts += [list(world.database[name].find()) for name in world.database.list_collection_names()]
    return "\n".join([*map(repr, parts), *(record.getMessage() for record in caplog.records), caplog.text])


class Watched(World):
    """A world that records event messages, and whose provider repeats its input, like AssemblyAI."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, Writes())
        self.notices: list[Any] = []
        post = self.kube.post_event

        async def post_event(ref: Any, notice: Any, now: Any) -> None:
            self.notices.append(notice)
            await post(ref, notice, now)

        monkeypatch.setattr(self.kube, "post_event", post_event)

    @property
    def echo(self) -> dict[str, Any]:
        return {"id": "t", "status": "completed", **self.provider.posts[-1].arguments}


@pytest.mark.parametrize("kind", Kind)
async def test_a_whole_run_stores_no_presigned_url(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = Watched(monkeypatch)

    async def poll(_model: str, _request_id: str) -> RequestView:
        return RequestView(state=RequestState.SUCCEEDED, result=AnswerFile.of(world.echo))

    spec = SPECS[kind]
    if kind is Kind.IMAGE_GENERATION:
        world.kube.apply(Kind.LORA_TRAINING, SPECS[Kind.LORA_TRAINING], uid="lora-uid")
        await world.finish(Kind.LORA_TRAINING)
        spec = spec | {"loras": [{"loraRef": {"name": "it"}}]}
    monkeypatch.setattr(world.provider, "poll", poll)
    world.kube.apply(kind, spec)
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert any(mark in repr(world.provider.posts[-1].arguments) for mark in MARKS), "the control: one was signed"
    bought = world.database["ledger"].find_one({"jobId": UID})
    assert bought is not None
    assert bought["resultKey"] == f"purchases/{bought['purchaseId']}/response.json"
    assert world.storage.objects[bought["resultKey"]]["id"] == "t", "the answer is kept"
    left = everything(world, caplog)
    assert [mark for mark in MARKS if mark in left] == []


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("way", ["failed", "running", "unread", "refused"])
async def test_providers_text_about_its_input_loses_the_signature(
    kind: Kind, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = Watched(monkeypatch)
    signed = f"unable to download https://s3.example/bucket/a/audio.flac?{QUERIES[0]}"
    views = {
        "failed": RequestView(state=RequestState.FAILED, message=signed),
        "running": RequestView(state=RequestState.RUNNING, message=signed),
    }

    async def poll(_model: str, _request_id: str) -> RequestView:
        if way == "unread":
            raise Unavailable(signed)
        return views[way]

    async def refuse(_call: Any, _before_send: Any) -> str:
        raise Refused(signed)

    monkeypatch.setattr(world.provider, "poll", poll)
    if way == "refused":
        monkeypatch.setattr(world.provider, "submit", refuse)
    world.kube.apply(kind, SPECS[kind])
    for _ in range(12):
        await world.reconcile(kind)
    left = everything(world, caplog)
    assert "unable to download https://s3.example/bucket/a/audio.flac" in left, "the control: it was said"
    assert [mark for mark in MARKS if mark in left] == []


async def test_the_last_words_of_a_pod_are_kept_without_a_signature(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = Watched(monkeypatch)

    async def job_log(*_: Any) -> str:
        return f"GET https://s3.example/bucket/a/audio.flac?{QUERIES[0]} failed"

    def killed() -> None:
        for job in world.kube.jobs.values():
            job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}

    monkeypatch.setattr(world.kube, "job_log", job_log)
    monkeypatch.setattr(world, "work", killed)
    world.delivers = False
    world.kube.apply(Kind.TRANSCRIPTION, SPECS[Kind.TRANSCRIPTION])
    for _ in range(6):
        await world.reconcile(Kind.TRANSCRIPTION)
        world.restart()
    left = everything(world, caplog)
    assert "GET https://s3.example/bucket/a/audio.flac failed" in left
    assert [mark for mark in MARKS if mark in left] == []


@pytest.mark.parametrize(
    ("url", "rest"),
    [
        ("https://h/a", ""),
        ("HTTPS://H/a#part", ""),
        ("https://h/a?X-Amz-Date=1&x-amz-signature=2&X-Amz-Security-Token=3", ""),
        ("https://h/a?versionId=2&X-Amz-Signature=1", "?versionId=2"),
        ("https://h/a?X-Goog-Date=1&generation=7&X-Goog-Signature=2", "?generation=7"),
        ("https://h/a?AWSAccessKeyId=1&Signature=2&Expires=3", ""),
        ("https://h/a?GoogleAccessId=1&Signature=2&Expires=3&v=1", "?v=1"),
        ("https://h/a?Policy=1&Signature=2&Key-Pair-Id=3&Hash-Algorithm=SHA256", ""),
        ("https://h/a?sv=1&se=2&sp=r&sr=b&skoid=4&sig=5&snapshot=6", "?snapshot=6"),
        ("https://h/a?expires=1&signature=2", "?expires=1&signature=2"),  # no key: unknown parameters are content
        ("https://h/a?sp=1&st=2", "?sp=1&st=2"),
        ("https://h/a?token=1", "?token=1"),
        ("https://h/a?", ""),
    ],
)
def test_equal_urls_without_their_signature(url: str, rest: str) -> None:
    assert without_signature(url) == f"https://h/a{rest}"


@pytest.mark.parametrize("host", ["civitai.com", "www.civitai.com", "CivitAI.com"])
def test_the_token_of_civitai_is_a_secret(host: str) -> None:
    assert without_signature(f"https://{host}/m/1?type=Model&token=x") == f"https://{host.lower()}/m/1?type=Model"


def test_only_of_civitai() -> None:
    assert without_signature("https://notcivitai.com/m?token=x").endswith("?token=x")
