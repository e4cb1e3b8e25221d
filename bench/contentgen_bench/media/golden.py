"""The golden dataset: what a small video's training set was when somebody last looked at it. `make golden` renews it.

The video is committed, for encoders and painters may draw otherwise elsewhere. What is compared has tolerances, for
processors round otherwise; reasons, shots and captions have none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from contentgen_bench.media import checks, videos
from contentgen_bench.media.videos import TUNE, VideoRecipe
from contentgen_bench.processes import measured
from contentgen_bench.report import ROOT

FOLDER = ROOT / "tests/golden"
VIDEO, EXPECTED = FOLDER / "shots.mp4", FOLDER / "shots.json"
_SECONDS = 0.13  # three frames
_BITS = 6  # of 64
_SHARE = 0.15  # of a picture's sharpness
# Cartoon, flash, fade, dissolve, shot and reverse shot, text card, within twenty seconds.
_CONTENT = replace(TUNE, seed=9, shot_seconds=(1.5, 0.25), gradual=0.45, grain=(0,), dialogue=0.15, jumps=0.0)
RECIPE = VideoRecipe(_CONTENT, 320, 180, 24, 20, 62_000, preset="slow")
Summary = dict[str, list[dict[str, Any]]]


def make(python: str, video: Path, out: Path) -> Summary:
    """The dataset of a video by the engine's command, as far as it is compared."""
    measured([python, "-m", "contentgen_worker", "dataset", str(video), str(out)])
    return summary(out)


def summary(out: Path) -> Summary:
    """What is compared of a dataset folder. `fingerprint` is the JPEG file's own, in hexadecimal."""
    index: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads((out / "dataset.json").read_text())
    return {
        "shots": [{"start": each["start"], "end": each["end"]} for each in index["shots"]],
        "images": [
            {
                **{name: each[name] for name in ("shot", "seconds", "caption", "width", "height", "sharpness")},
                "fingerprint": f"{checks.fingerprint(out / each['file']):016x}",
            }
            for each in index["images"]
        ],
        "rejected": [{name: each[name] for name in ("shot", "seconds", "reason")} for each in index["rejected"]],
    }


def differences(expected: Summary, found: Summary) -> list[str]:
    """Every difference beyond the tolerances, in words."""
    return [
        f"{part} {number}: {text}"
        for part in expected
        for number, (old, new) in enumerate(zip_longest(expected[part], found[part]), 1)
        for text in _differences(old, new)
    ]


def _differences(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[str]:
    if old is None or new is None:
        yield f"is new: {new}" if old is None else f"is gone: {old}"
        return
    for name, value in old.items():
        if not _same(name, value, new[name]):
            yield f"{name} was {value}, is {new[name]}"


def _same(name: str, old: Any, new: Any) -> bool:
    match name:
        case "start" | "end" | "seconds":
            return bool(abs(old - new) <= _SECONDS)
        case "fingerprint":
            return (int(old, 16) ^ int(new, 16)).bit_count() <= _BITS
        case "sharpness":
            return bool(abs(old - new) <= _SHARE * max(old, new))
        case _:
            return bool(old == new)


def renew(python: str, out: Path) -> list[str]:
    """Write what the engine makes now; the differences to what was there. The video is made where it is missing."""
    FOLDER.mkdir(exist_ok=True)
    if not VIDEO.exists():
        videos.make(RECIPE, VIDEO)
    found = make(python, VIDEO, out)
    before = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {part: [] for part in found}
    EXPECTED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return differences(before, found)
