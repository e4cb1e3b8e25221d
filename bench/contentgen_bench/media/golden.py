"""Golden dataset: the reviewed training set of a small video. `make golden` renews it.

The video is committed, because encoders and drawing functions differ between machines. Times, fingerprints and
sharpness have tolerances, because CPUs round differently; reasons, shot numbers and captions have none.
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
_BITS = 6  # differing bits of 64
_SHARE = 0.15  # relative difference of sharpness
# The twenty seconds contain a cartoon, a flash, a fade, a dissolve, shot and reverse shot, and a text card.
_CONTENT = replace(TUNE, seed=9, shot_seconds=(1.5, 0.25), gradual=0.45, grain=(0,), dialogue=0.15, jumps=0.0)
RECIPE = VideoRecipe(_CONTENT, 320, 180, 24, 20, 62_000, preset="slow")
Summary = dict[str, list[dict[str, Any]]]


def make(python: str, video: Path, out: Path) -> Summary:
    """Summary of the dataset that the engine's command makes of a video."""
    measured([python, "-m", "contentgen_worker", "dataset", str(video), str(out)])
    return summary(out)


def summary(out: Path) -> Summary:
    """Compared fields of a dataset folder. `fingerprint` is computed from the JPEG file, in hexadecimal."""
    index: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads((out / "dataset.json").read_text())
    return {
        "shots": [{"start": shot["start"], "end": shot["end"]} for shot in index["shots"]],
        "images": [
            {
                **{name: image[name] for name in ("shot", "seconds", "caption", "width", "height", "sharpness")},
                "fingerprint": f"{checks.fingerprint(out / image['file']):016x}",
            }
            for image in index["images"]
        ],
        "rejected": [{name: each[name] for name in ("shot", "seconds", "reason")} for each in index["rejected"]],
    }


def differences(expected: Summary, found: Summary) -> list[str]:
    """Differences beyond the tolerances, one line of text each."""
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
    """Write the engine's present dataset as the golden one; return the differences from the former one.

    A missing video is generated.
    """
    FOLDER.mkdir(exist_ok=True)
    if not VIDEO.exists():
        videos.make(RECIPE, VIDEO)
    found = make(python, VIDEO, out)
    before = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {part: [] for part in found}
    EXPECTED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return differences(before, found)
