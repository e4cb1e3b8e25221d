"""Canonical requests: spellings of the same content, and other content."""

from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import parse_spec
from contentgen_operator.state.canonical_request import SENT_SHA256, RequestContent
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.kinds.row import CallContext
from contentgen_operator.state.kinds.table import content_of
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.purchases import PurchaseKey

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
SPECS: dict[Kind, dict[str, Any]] = {
    LORA: {"loraName": "n", "triggerWord": "t", "source": {"url": "https://h/x"}},
    IMAGES: {"prompt": "a house"},
    TRANSCRIPT: {"source": {"url": "https://h/x"}},
}
FACTS = {SENT_SHA256: "a" * 64, "sourceSha256": "b" * 64}
JOB = CallContext(provider="fal", user_id="ns", job_id="uid", version=1)


def content(
    kind: Kind, spec: dict[str, Any] | None = None, facts: dict[str, Any] | None = None, **arguments: Any
) -> RequestContent:
    parsed = parse_spec(kind, SPECS[kind] | (spec or {}))
    key = PurchaseKey(namespace="ns", kind=kind, name="it", run_hash="0", rerun=None, attempt=1)
    call = kinds.call_of(parsed, JOB, key, (LoraView(name="l", model_key="k"),))
    call = call.model_copy(update={"arguments": call.arguments | arguments})
    return content_of(parsed, call, FACTS if facts is None else facts, ())


def equal(a: RequestContent, b: RequestContent) -> bool:
    return bool({*a.kept} & {*b.asked})


@pytest.mark.parametrize("kind", [LORA, TRANSCRIPT])
@pytest.mark.parametrize(
    ("facts", "same"),
    [
        (FACTS, True),
        (FACTS | {SENT_SHA256: "c" * 64}, True),  # another version of the encoder
        (FACTS | {"sourceSha256": "c" * 64}, True),  # another container of the same sound
        (FACTS | {"sourceSha256": None}, True),
        ({SENT_SHA256: "c" * 64, "sourceSha256": "d" * 64}, False),
        ({SENT_SHA256: "c" * 64}, False),
        ({}, False),
    ],
)
def test_prepared_input(kind: Kind, facts: dict[str, Any], same: bool) -> None:
    assert equal(content(kind), content(kind, facts=facts)) is same


OTHER_ENCODER = FACTS | {SENT_SHA256: "c" * 64}


@pytest.mark.parametrize(
    ("kind", "spec", "same"),
    [
        (TRANSCRIPT, {"options": {"audioTrack": 2}}, False),
        (TRANSCRIPT, {"options": {"formats": ["txt"]}}, True),
        (TRANSCRIPT, {"options": {"subtitles": {"lines": 1}}}, True),
        (TRANSCRIPT, {"options": {"language": "de"}}, False),
        (LORA, {"dataset": {"resolution": 512}}, False),
        (LORA, {"dataset": {"resolution": 1024, "faces": {"minSize": "0.150"}}}, True),
        (LORA, {"loraName": "other"}, True),
        (LORA, {"triggerWord": "u"}, False),
    ],
)
def test_settings_of_the_preparation(kind: Kind, spec: dict[str, Any], same: bool) -> None:
    assert equal(content(kind), content(kind, spec, OTHER_ENCODER)) is same


@pytest.mark.parametrize("name", ["speech_models", "webhook_url"])
def test_settings_of_the_site_and_callbacks_are_no_content(name: str) -> None:
    assert content(TRANSCRIPT) == content(TRANSCRIPT, **{name: ["x"]})


def test_a_lora_without_a_checksum_is_unknown() -> None:
    assert content(IMAGES, {"loras": [{"loraRef": {"name": "l"}}]}) == RequestContent()


def test_a_whole_number_is_equal_to_its_decimal() -> None:
    assert content(IMAGES, guidance=1.0) == content(IMAGES, guidance=1)
