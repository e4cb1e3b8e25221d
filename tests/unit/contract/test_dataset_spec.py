"""LoraTraining.spec.dataset: combinations of fields, and stable run hashes when fields are added."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from contentgen_contract import patterns
from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import (
    CaptionEngine,
    Crop,
    Dataset,
    Detector,
    FacesMode,
    LoraTrainingSpec,
    SceneDetection,
    Speed,
    parse_spec,
    run_hash,
)

BASE = {"loraName": "a", "triggerWord": "jf", "source": {"url": "https://example.com/a.mp4"}}
OF_THEN = {
    "sceneDetection": {"detector": "adaptive"},
    "framesPerScene": 2,
    "minImages": 8,
    "maxImages": 40,
    "resolution": 768,
    "faces": {"mode": "Ignore"},
    "captions": {"template": "[trigger], smiling"},
}
NEW: list[dict[str, Any]] = [
    {"speed": "Fast"},
    {"timeRanges": [{"start": "1", "end": "2"}]},
    {"sceneDetection": {"minSceneLength": "0.5"}},
    {"sceneDetection": {"detector": "content", "threshold": "30"}},
    {"multipleOf": 64},
    {"crop": "Square"},
    {"faces": {"mode": "Require"}},
    {"faces": {"minSize": "0.3"}},
    {"faces": {"mode": "Prefer", "single": True}},
    {"duplicates": {"threshold": 3}},
    {"captions": {"facts": ["Motion"]}},
    {"captions": {"engine": "Vision"}},
]


def hash_of(dataset: dict[str, Any] | None) -> str:
    spec = BASE if dataset is None else {**BASE, "dataset": dataset}
    return run_hash(Kind.LORA_TRAINING, parse_spec(Kind.LORA_TRAINING, spec))


@pytest.mark.parametrize(
    ("dataset", "before"),
    [
        (None, "702740d3f6d6d151"),
        ({}, "702740d3f6d6d151"),
        (OF_THEN, "a1940bd1aa02e675"),
        ({"minImages": 8, "captions": {"template": "a photo of [trigger]"}}, "10e51e033a01783c"),
    ],
)
def test_specs_older_than_these_fields_keep_their_hash(dataset: dict[str, Any] | None, before: str) -> None:
    assert hash_of(dataset) == before


def test_the_defaults_written_out_are_the_same_run() -> None:
    """The API server writes defaults into every resource."""
    filled = LoraTrainingSpec.model_validate(BASE).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert {"speed", "timeRanges", "multipleOf", "crop", "duplicates"} <= filled["dataset"].keys()
    assert hash_of(filled["dataset"]) == hash_of(None)


@pytest.mark.parametrize("dataset", NEW, ids=str)
def test_each_new_field_decides_the_result(dataset: dict[str, Any]) -> None:
    assert hash_of(dataset) != hash_of(None)


def test_spec_without_the_new_fields_has_their_defaults() -> None:
    dataset = Dataset()
    assert (dataset.speed, dataset.crop, dataset.multiple_of) == (Speed.EXACT, Crop.NONE, 1)
    assert dataset.time_ranges == []
    assert (dataset.faces.mode, dataset.faces.single) == (FacesMode.IGNORE, False)
    assert (dataset.captions.engine, dataset.captions.facts) == (CaptionEngine.TEMPLATE, [])
    assert dataset.scene_detection == SceneDetection(detector=Detector.AUTO)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ({"timeRanges": [{"start": "2", "end": "1"}]}, "end must be after start"),
        ({"timeRanges": [{"start": "10", "end": "9"}]}, "end must be after start"),
        ({"timeRanges": [{"end": "0.0"}]}, "end must be after start"),
        ({"timeRanges": [{}] * 33}, "at most 32"),
        ({"faces": {"single": True}}, "single needs mode Prefer or Require"),
        ({"faces": {"minSize": "1.5"}}, "minSize"),
        ({"sceneDetection": {"threshold": "3"}}, "threshold must only be set with a detector that is not auto"),
        ({"sceneDetection": {"detector": "hash", "size": 8}}, "size"),
    ],
    ids=str,
)
def test_wrong(dataset: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        Dataset.model_validate(dataset)


@pytest.mark.parametrize(
    "detector", [each_detector for each_detector in Detector if each_detector is not Detector.AUTO]
)
def test_every_other_detector_takes_a_threshold(detector: Detector) -> None:
    assert SceneDetection.model_validate({"detector": detector, "threshold": "1"}).threshold == "1"


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (patterns.SHARE, ("0", "1", "0.15", "1.0"), ("1.1", "-0.1", ".5", "2", "1e-1", "")),
    ],
)
def test_shares(pattern: str, right: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert [text for text in right if not re.search(pattern, text)] == []
    assert [text for text in wrong if re.search(pattern, text)] == []
