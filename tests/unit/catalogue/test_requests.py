"""Requests to fal: each one that can be built fits the facts, and those of before the catalogue are unchanged."""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contentgen_contract.catalogue.entries import ENTRIES, CatalogueEntry, InputField, LimitedField, entries_of
from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import LoraTrainingSpec, Spec, Style, parse_spec, run_hash
from contentgen_operator.state.kinds import table
from contentgen_operator.state.kinds.row import CallContext
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call, StoredObject, arguments_json
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
FACTS = Path(__file__).parents[3] / "facts/fal/models"
JOB = CallContext(provider="fal", user_id="ann", job_id="uid-1", version=2)
BASE: dict[Kind, dict[str, Any]] = {
    LORA: {"loraName": "n", "triggerWord": "jf", "source": {"url": "https://h/talk.mp4"}},
    IMAGES: {"prompt": "a cat"},
}
TRAINED = LoraView(name="l", model_key="loras/ann/uid-0/v1/model.safetensors")
PATH = "https://h/a.safetensors?sig=1"
BIG = {"size": {"width": 2048, "height": 256}, "count": 4, "format": "jpeg", "seed": 7}


def key_of(kind: Kind) -> PurchaseKey:
    return PurchaseKey(namespace="ns", kind=kind, name="n", run_hash="h", rerun=None, attempt=1)


def call_of(spec: Spec) -> Call:
    kind = LORA if isinstance(spec, LoraTrainingSpec) else IMAGES
    return table.call_of(spec, JOB, key_of(kind), (TRAINED,))


ARCHIVE = "datasets/ann/uid-1/v2/dataset.zip"
TRAINING = {"images_data_url": StoredObject(key=ARCHIVE), "data_archive_format": "zip", "trigger_word": "jf"}
SUBJECT, STYLE = {"is_style": False, "create_masks": True}, {"is_style": True, "create_masks": False}
SEED = 1574223201
SMALL_PICTURE = {
    "prompt": "a cat",
    "image_size": {"width": 1024, "height": 1024},
    "num_images": 1,
    "output_format": "png",
    "seed": SEED,
}
BIG_PICTURE = {
    "prompt": "a cat",
    "image_size": {"width": 2048, "height": 256},
    "num_images": 4,
    "output_format": "jpeg",
    "seed": 7,
}
LORAS = [{"path": StoredObject(key=TRAINED.model_key or ""), "scale": 1.0}, {"path": PATH, "scale": 0.8}]
# Kind, edits of the spec; arguments, correlation key, run hash, first hash of the content before the catalogue.
FIXED: list[tuple[Kind, dict[str, Any], dict[str, Any], str, str, str]] = [
    (LORA, {}, TRAINING | {"steps": 1000} | SUBJECT, ARCHIVE, "189c5be81e80d89b", "471be893f217"),
    (
        LORA,
        {"training": {"model": "fal-ai/flux-lora-fast-training", "steps": 10000, "style": "Style"}},
        *(TRAINING | {"steps": 10000} | STYLE, ARCHIVE, "346b2006f0f0f734", "57fffb3b24bc"),
    ),
    (
        LORA,
        {"training": {"steps": 1, "learningRate": "0.0004"}},
        *(TRAINING | {"steps": 1} | SUBJECT, ARCHIVE, "92ba859cf841447b", "9d9348668e54"),
    ),
    (IMAGES, {}, SMALL_PICTURE, f"seed:{SEED} prompt:a cat", "0b737e1b8a5928dd", "12660000fd8f"),
    (
        IMAGES,
        {"model": "flux-dev", "image": BIG},
        *(BIG_PICTURE, "seed:7 prompt:a cat", "073ebb5d54a0ff4a", "f2a95b11d02d"),
    ),
    (
        IMAGES,
        {"model": "flux-schnell"},
        *(SMALL_PICTURE, f"seed:{SEED} prompt:a cat", "ca0a405e17c851a7", "8ba4473e80cb"),
    ),
    (
        IMAGES,
        {"model": "flux-pro"},
        *(SMALL_PICTURE, f"seed:{SEED} prompt:a cat", "fc94ea10ce94941d", "aa4946b972c7"),
    ),
    (
        IMAGES,
        {"image": BIG, "loras": [{"loraRef": {"name": "l"}}, {"path": PATH, "scale": "0.80"}]},
        *(BIG_PICTURE | {"loras": LORAS}, "seed:7 prompt:a cat", "66d6f0be86ebf2d2", ""),
    ),
]


@pytest.mark.parametrize("case", FIXED)
def test_requests_of_former_models_are_unchanged(
    case: tuple[Kind, dict[str, Any], dict[str, Any], str, str, str],
) -> None:
    kind, edits, arguments, correlation_key, hashed, content = case
    spec = parse_spec(kind, BASE[kind] | edits)
    call = call_of(spec)
    assert (call.arguments, call.correlation_key) == (arguments, correlation_key)
    assert run_hash(kind, spec) == hashed
    kept = table.content_of(spec, call, {"sentSha256": "a" * 64}, ()).kept
    assert "".join(kept[:1])[:12] == content


def test_a_model_without_an_entry_has_the_former_names() -> None:
    training = {"model": "fal-ai/flux-krea-trainer", "learningRate": "0.0004"}
    call = call_of(parse_spec(LORA, BASE[LORA] | {"training": training}))
    assert call.arguments == TRAINING | {"steps": 1000, "learning_rate": 0.0004} | SUBJECT
    assert call_of(parse_spec(IMAGES, BASE[IMAGES] | {"model": "some/model"})).arguments == SMALL_PICTURE


def test_a_lost_request_is_searched_by_what_was_sent() -> None:
    """The names of its model in the catalogue may have changed since."""
    sent = {"trigger_phrase": "jf", "images_url": StoredObject(key=ARCHIVE)}
    now = datetime(2026, 11, 27, tzinfo=UTC)
    purchase = Purchase(
        state=PurchaseState.INTENT,
        job_id="uid-1",
        provider="fal",
        model="fal-ai/flux-lora-fast-training",
        correlation_key=ARCHIVE,
        created_at=now,
        changed_at=now,
        sent_input=arguments_json(sent),
    )
    spec = parse_spec(LORA, BASE[LORA])
    call = table.sent_call(spec, key_of(LORA).model_copy(update={"run_hash": run_hash(LORA, spec)}), purchase)
    assert (call.arguments, call.correlation_key) == (sent, ARCHIVE)


@pytest.mark.parametrize("entry", entries_of(LORA), ids=lambda entry: entry.short_name)
def test_a_training_with_another_trigger_is_another(entry: CatalogueEntry) -> None:
    """Each caption has the trigger, so the archive's bytes differ, also where the trainer has no input for it."""
    found = list[set[str]]()
    for trigger, sent in (("jf", "a" * 64), ("other", "b" * 64), ("jf", "c" * 64)):
        spec = parse_spec(LORA, BASE[LORA] | {"triggerWord": trigger, "training": {"model": entry.endpoint}})
        facts = {"sentSha256": sent, "sourceSha256": "d" * 64}
        found.append(set(table.content_of(spec, call_of(spec), facts, ()).kept))
    first, other, encoded_again = found
    assert (bool(first & other), bool(first & encoded_again)) == (False, True)


def ends(entry: CatalogueEntry, field: LimitedField, least: int, most: int) -> tuple[int, int]:
    """Smallest and largest whole number that the CRD and the entry admit."""
    limit = entry.input.limits.get(field)
    if limit is None:
        return least, most
    return (
        int(limit.minimum if limit.minimum is not None else least),
        int(limit.maximum if limit.maximum is not None else most),
    )


def trainings(entry: CatalogueEntry) -> Iterator[dict[str, Any]]:
    """Specs of a trainer at the ends of what is admitted."""
    styles = list(Style) if entry.takes(InputField.STYLE) else [Style.SUBJECT]
    limit = entry.input.limits.get(LimitedField.LEARNING_RATE)
    least, most = (limit.minimum, limit.maximum) if limit else (1e-8, 1.0)
    rates = [None, f"{least:.8f}", f"{most:.8f}"] if entry.takes(InputField.LEARNING_RATE) else [None]
    for steps, style, rate in itertools.product(ends(entry, LimitedField.STEPS, 1, 10000), styles, rates):
        training = {"model": entry.endpoint, "steps": steps, "style": style.value, "learningRate": rate}
        yield BASE[LORA] | {"training": training}


def pictures(entry: CatalogueEntry) -> Iterator[dict[str, Any]]:
    """Specs of an image model at the ends of what is admitted."""
    widths, heights = (ends(entry, field, 256, 2048) for field in (LimitedField.WIDTH, LimitedField.HEIGHT))
    scales = entry.input.limits.get(LimitedField.SCALE)
    scale = str(int(scales.maximum)) if scales and scales.maximum else "1000"
    paths = [{"path": f"https://h/{number}.safetensors", "scale": scale} for number in range(4)]
    several = [{"loraRef": {"name": "l"}, "scale": "0.01"}, *paths][: ends(entry, LimitedField.LORAS, 0, 4)[1]]
    loras = [[], several] if entry.takes(InputField.LORAS) else [[]]
    for width, height, count, file_format, given in itertools.product(
        widths, heights, ends(entry, LimitedField.COUNT, 1, 4), ("png", "jpeg"), loras
    ):
        image = {"size": {"width": width, "height": height}, "count": count, "format": file_format, "seed": 2147483647}
        yield BASE[IMAGES] | {"model": entry.short_name, "image": image, "loras": given}
    yield BASE[IMAGES] | {"model": entry.endpoint}


def signed(value: Any) -> Any:
    """The arguments with an address for each stored object."""
    match value:
        case StoredObject(key=key):
            return f"https://bucket.example.com/{key}?X-Amz-Signature=ab"
        case dict():
            return {name: signed(member) for name, member in value.items()}
        case list():
            return [signed(element) for element in value]
        case _:
            return value


SPECS = {LORA: trainings, IMAGES: pictures}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_each_request_fits_the_facts(entry: CatalogueEntry) -> None:
    """The schema of a fact refuses unknown names."""
    fact = json.loads((FACTS / f"{entry.endpoint.replace('/', '--')}.json").read_text())
    assert fact["input"]["additionalProperties"] is False
    validator = jsonschema.Draft202012Validator(fact["input"])
    count = 0
    for spec in SPECS[entry.kind](entry):
        arguments = signed(call_of(parse_spec(entry.kind, spec)).arguments)
        assert [error.message for error in validator.iter_errors(arguments)] == [], spec
        count += 1
    assert count > 1


def test_each_catalogued_kind_is_built_here() -> None:
    assert {kind for kind in Kind if entries_of(kind)} == SPECS.keys()
