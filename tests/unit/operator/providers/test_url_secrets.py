"""Users' URLs in records, API, ledger, status and logs: scheme, host and path, nothing else."""

import json
from typing import Any

import pytest

from contentgen_contract import texts
from contentgen_contract.names import Kind, Phase
from contentgen_contract.records.record import config_fields, source_fields
from contentgen_contract.resources.spec import parse_spec
from contentgen_contract.texts import bare_urls, foreign_text
from contentgen_gateway.live.job_snapshot import JobSnapshot, document
from contentgen_operator.providers.base import Refused
from contentgen_operator.state.observed import Resource
from contentgen_operator.state.provider_requests import arguments_json, arguments_of, same_input
from contentgen_operator.state.runs import frozen_spec
from contentgen_simulation.gateway.server import resource
from contentgen_simulation.world import SPECS, World

IMAGES = Kind.IMAGE_GENERATION
S3CRET = "S3CRET"
BARE = "https://files.example.com/a%20b/model.safetensors"
SIGNED = {
    "AWS, version 4": f"{BARE}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={S3CRET}&X-Amz-Signature={S3CRET}",
    "AWS, version 2": f"{BARE}?AWSAccessKeyId={S3CRET}&Expires=1&Signature={S3CRET}",
    "Google": f"{BARE}?GoogleAccessId=a%40b&Expires=1&X-Goog-Signature={S3CRET}",
    "Azure SAS": f"{BARE}?sv=2024-11-04&se=2027-01-01T00%3A00%3A00Z&sr=b&sp=r&sig={S3CRET}%3D",
    "CloudFront": f"{BARE}?Expires=1&Signature={S3CRET}~_&Key-Pair-Id=K{S3CRET}",
    "Civitai": f"{BARE}?type=Model&format=SafeTensor&token={S3CRET}",
    "a query without names": f"{BARE}?{S3CRET}",
    "a fragment": f"{BARE}#token={S3CRET}",
    "two question marks": f"{BARE}?a=https://other?b={S3CRET}",
    "upper case": f"HTTPS://{BARE.partition('://')[2]}?TOKEN={S3CRET}",
}
URLS = pytest.mark.parametrize("url", SIGNED.values(), ids=SIGNED)
PRODUCED = {IMAGES: {"loras": [{"path": "URL", "scale": "1"}]}} | {
    kind: {"source": {"url": "URL"}} for kind in (Kind.LORA_TRAINING, Kind.TRANSCRIPTION)
}


def spec_with(kind: Kind, url: str) -> dict[str, Any]:
    return {**SPECS[kind], **json.loads(json.dumps(PRODUCED[kind]).replace("URL", url))}


@URLS
@pytest.mark.parametrize("kind", list(Kind))
def test_a_record_has_no_secret_of_a_url(kind: Kind, url: str) -> None:
    spec = parse_spec(kind, spec_with(kind, url))
    record = json.dumps([config_fields(spec), source_fields(spec, {})])
    assert S3CRET not in record
    assert BARE in record
    if kind is not IMAGES:
        assert source_fields(spec, {})["sourceVideo"]["filename"] == "model.safetensors"
    body = resource(kind, "it", phase="Processing")
    body["spec"] = spec_with(kind, url) | {"userId": "ann"}
    shown = json.dumps(document(JobSnapshot.parse(kind, body)), default=str)
    assert S3CRET not in shown
    assert BARE in shown


@URLS
def test_the_ledger_has_no_secret_of_a_url(url: str) -> None:
    arguments = {"prompt": "x", "loras": [{"path": url, "scale": 1}]}
    kept = arguments_json(arguments)
    assert S3CRET not in kept
    assert same_input(arguments_of(kept), arguments), "the request is still found by it"


@URLS
async def test_a_status_a_ledger_and_a_record_have_no_secret_of_a_url(world: World, url: str) -> None:
    world.provider.refuses = Refused(foreign_text(f"fal answered 422: body.loras.0.path: cannot load {url}, sorry"))
    world.kube.apply(IMAGES, spec_with(IMAGES, url))
    status = await world.finish(IMAGES, Phase.FAILED)
    assert f"cannot load {BARE}, sorry" in (status.message or "")
    for name in ("jobs", "ledger", "notifications"):
        assert S3CRET not in json.dumps(list(world.database[name].find()), default=str), name


@URLS
@pytest.mark.parametrize("kind", list(Kind))
async def test_a_finished_run_keeps_no_secret_of_a_url(world: World, kind: Kind, url: str) -> None:
    world.kube.apply(kind, spec_with(kind, url))
    await world.finish(kind, Phase.PROCESSING)
    assert S3CRET in json.dumps(world.kube.resources[kind, "it"]["status"]["run"]["spec"]), "it is still needed"
    status = await world.finish(kind)
    assert status.phase is Phase.COMPLETED
    for name in world.database.list_collection_names():
        assert S3CRET not in json.dumps(list(world.database[name].find()), default=str), name
    assert status.run is not None
    assert BARE in json.dumps(status.run.spec)
    assert S3CRET not in json.dumps(status.run.spec)
    posts = len(world.provider.posts)
    await world.recover(kind)
    assert len(world.provider.posts) == posts, "the same spec starts no run"
    resource_now = Resource.parse(kind, world.kube.resources[kind, "it"])
    assert S3CRET in frozen_spec(resource_now, status.run).model_dump_json(), "a search of its request finds it"


@URLS
def test_a_text_has_no_secret_of_a_url(url: str) -> None:
    for text in (f"see {url}", f'{{"url": "{url}"}}', f"({url}).", f"{url}\nnext", f"<a href='{url}'>"):
        cut = bare_urls(text)
        assert S3CRET not in cut
        assert BARE in cut


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("https://user:pass@h/x", "https://h/x"),
        ("https://user:pa/ss@h/x", "(not a URL)"),
        ("https://@h/@me", "https://h/@me"),
        ("what? a=b", "what? a=b"),
        ("h.example/a?sig=1, sorry", "h.example/a sorry"),
        ("ftp://h/a;b=1", "ftp://h/a;b=1"),
        ("https://h/a?b=1).", "https://h/a)."),
    ],
)
def test_only_scheme_host_and_path_of_a_url_are_kept(text: str, cut: str) -> None:
    assert bare_urls(text) == cut


def test_a_text_of_question_marks_is_read_once() -> None:
    """One match for the whole text: a pattern that starts anew at each mark takes quadratic time."""
    assert len(texts._QUERY.findall("a?" * 100)) == 1
    assert foreign_text("a?" * 1000) == "a?" * 300
