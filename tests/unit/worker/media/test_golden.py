"""The engine's results on a small video equal the stored ones; `make golden` renews them."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from contentgen_bench.media import golden

EXPECTED = json.loads(golden.EXPECTED.read_text())


def test_the_dataset_of_the_golden_video_is_as_it_was(tmp_path: Path) -> None:
    assert golden.differences(EXPECTED, golden.make(sys.executable, golden.VIDEO, tmp_path / "out")) == []


def test_the_golden_dataset_has_something_of_everything() -> None:
    assert len(EXPECTED["images"]) >= 6
    assert {each["reason"] for each in EXPECTED["rejected"]} >= {"Duplicate"}
    assert golden.VIDEO.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("shots", "start", 0.2, "start was"),
        ("images", "seconds", 0.2, "seconds was"),
        ("images", "caption", "a photo", "caption was"),
        ("images", "fingerprint", "0" * 16, "fingerprint was"),
        ("images", "sharpness", 0.0, "sharpness was"),
        ("rejected", "reason", "TooDark", "reason was"),
    ],
)
def test_a_difference_is_told(part: str, name: str, value: Any, words: str) -> None:
    found = copy.deepcopy(EXPECTED)
    old = found[part][0][name]
    found[part][0][name] = old + value if isinstance(old, float) and value else value
    assert [words in text for text in golden.differences(EXPECTED, found)] == [True]
    found[part].pop()
    assert any("is gone" in text for text in golden.differences(EXPECTED, found))


def test_rounding_of_processors_is_no_difference() -> None:
    found = copy.deepcopy(EXPECTED)
    for image in found["images"]:
        image["seconds"] += 0.05
        image["sharpness"] *= 1.05
        image["fingerprint"] = f"{int(image['fingerprint'], 16) ^ 0b1001:016x}"
    assert golden.differences(EXPECTED, found) == []
