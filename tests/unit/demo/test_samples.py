"""Copies of samples/ for the demo: new names, updated references, the video's URL."""

from datetime import UTC, datetime
from pathlib import Path

import yaml

from contentgen_demo.samples import as_yaml, fresh_name, fresh_samples

NOW = datetime(2026, 11, 21, 3, 21, 9, tzinfo=UTC)
URL = "http://contentgen-sandbox.contentgen.svc/media/talk-abc.mp4"
SAMPLES = [yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parents[3] / "samples").glob("*.yaml"))]


def test_copies_have_new_names_and_refer_to_each_other() -> None:
    lora, picture, transcript = fresh_samples(SAMPLES, URL, NOW, ())

    assert [each["kind"] for each in (lora, picture, transcript)] == [
        "LoraTraining",
        "ImageGeneration",
        "Transcription",
    ]
    assert {resource["metadata"]["name"] for resource in (lora, picture, transcript)} == {"avatar-032109"}
    assert picture["spec"]["loras"][0]["loraRef"]["name"] == "avatar-032109"


def test_sources_are_the_film() -> None:
    lora, picture, transcript = fresh_samples(SAMPLES, URL, NOW, ())

    assert lora["spec"]["source"]["url"] == transcript["spec"]["source"]["url"] == URL
    assert "source" not in picture["spec"]


def test_the_samples_stay_as_they_are() -> None:
    before = as_yaml(SAMPLES)
    fresh_samples(SAMPLES, URL, NOW, ())
    assert as_yaml(SAMPLES) == before


def test_a_loraref_to_somebody_elses_training_stays() -> None:
    samples = [{"kind": "ImageGeneration", "metadata": {"name": "a"}, "spec": {"loras": [{"loraRef": {"name": "b"}}]}}]
    assert fresh_samples(samples, URL, NOW, ())[0]["spec"]["loras"] == [{"loraRef": {"name": "b"}}]


def test_a_name_that_was_used_is_not_used_again() -> None:
    assert fresh_name("avatar", NOW, {"avatar-032109"}) == "avatar-032109-2"
    assert fresh_name("avatar", NOW, {"avatar-032109", "avatar-032109-2"}) == "avatar-032109-3"


def test_the_file_reads_back_as_the_same_resources() -> None:
    fresh = fresh_samples(SAMPLES, URL, NOW, ())
    assert tuple(yaml.safe_load_all(as_yaml(fresh))) == fresh
