"""LoraTraining.spec.dataset: combinations of fields, and stable run hashes when fields are added."""

import re
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from contentgen_contract import patterns
from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import (
    DETECTORS_BY_PARAMETER,
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
from crds import model_schema

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
def test_specs_written_before_these_fields_have_the_hash_that_they_had(
    dataset: dict[str, Any] | None, before: str
) -> None:
    assert hash_of(dataset) == before


def test_the_defaults_written_out_are_the_same_run() -> None:
    """The API server writes defaults into every resource."""
    filled = LoraTrainingSpec.model_validate(BASE).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert {"speed", "timeRanges", "multipleOf", "crop", "duplicates"} <= filled["dataset"].keys()
    assert hash_of(filled["dataset"]) == hash_of(None)


@pytest.mark.parametrize("dataset", NEW, ids=str)
def test_each_new_field_decides_the_result(dataset: dict[str, Any]) -> None:
    assert hash_of(dataset) != hash_of(None)


def test_what_a_spec_without_the_new_fields_means() -> None:
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
        ({"sceneDetection": {"threshold": "3"}}, "threshold must only be set with content, adaptive, hash, histogram"),
        ({"sceneDetection": {"detector": "hash", "size": 9}}, "size"),
        ({"sceneDetection": {"detector": "hash", "lumaOnly": True}}, "lumaOnly must only be set with content or adap"),
    ],
    ids=str,
)
def test_wrong(dataset: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        Dataset.model_validate(dataset)


def test_every_parameter_of_a_detector_is_refused_by_the_others() -> None:
    values: dict[str, Any] = {"method": "Floor", "luma_only": False} | dict.fromkeys(("size", "bins", "lowpass"), 4)
    plain = {"detector", "min_scene_length"}
    assert DETECTORS_BY_PARAMETER.keys() == SceneDetection.model_fields.keys() - plain
    for name, taking in DETECTORS_BY_PARAMETER.items():
        for detector in Detector:
            value = values.get(name, 3 if name == "window_width" else "1")
            settings = {"detector": detector, name: value}
            if detector in taking:
                assert getattr(SceneDetection.model_validate(settings), name) is not None
            else:
                with pytest.raises(ValidationError, match="must only be set with"):
                    SceneDetection.model_validate(settings)


def test_the_api_server_has_a_rule_for_each_parameter() -> None:
    rules = model_schema(SceneDetection)["x-kubernetes-validations"]
    assert [rule["fieldPath"] for rule in rules] == [f".{to_camel(name)}" for name in DETECTORS_BY_PARAMETER]


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (patterns.SHARE, ("0", "1", "0.15", "1.0"), ("1.1", "-0.1", ".5", "2", "1e-1", "")),
        (patterns.SIGNED_SHARE, ("0", "-1", "-0.5", "1.00"), ("-1.1", "--1", "+1", "-", "2")),
    ],
)
def test_shares(pattern: str, right: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert [text for text in right if not re.search(pattern, text)] == []
    assert [text for text in wrong if re.search(pattern, text)] == []
