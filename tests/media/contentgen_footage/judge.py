"""Analysis of a case by the engine, and its differences from the expected numbers."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np

from contentgen_contract.resources.spec import LoraTrainingSpec, Speed
from contentgen_footage.case import FootageCase
from contentgen_footage.films import COLOURS, KnownFilm, picture
from contentgen_worker.errors import BadMedia
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.prepare.lora import training_set
from contentgen_worker.progress import Steps

_ASPECT = 0.02
_BOUNDS = MediaLimits(pixels=3840 * 2160, seconds=12 * 3600)


@dataclass(frozen=True)
class FootageResult:
    """Result of a case: shots, seconds of the cuts, and the mean colour of each picture's patch; or the refusal."""

    shots: int = 0
    cuts: tuple[float, ...] = ()
    patches: tuple[tuple[float, float, float], ...] = ()
    aspects: frozenset[float] = frozenset()
    differences: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""


def analyse(case: FootageCase, speed: Speed, folder: Path) -> FootageResult:
    """Make the file of a case and a training set of it."""
    path = case.make(folder / f"{case.name}")
    spec = LoraTrainingSpec.model_validate(
        {
            "userId": "local",
            "loraName": "film",
            "triggerWord": "film",
            "source": {"url": "https://local.invalid/video"},
            "dataset": {"minImages": 4, "framesPerScene": 1, **case.settings, "speed": speed},
        }
    )
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        made = training_set(spec, path, _BOUNDS, Steps(lambda _: None), scratch)
    except BadMedia as error:
        return FootageResult(refused=f"{error.reason}: {error}")
    made.bundle()
    index = next(
        json.loads(output.content)
        for output in made.outputs
        if isinstance(output.content, bytes) and output.name == "dataset.json"
    )
    pictures = [
        output.content for output in made.outputs if output.name.endswith(".jpg") and isinstance(output.content, Path)
    ]
    shown = [_read(each_picture) for each_picture in pictures]
    return FootageResult(
        shots=made.facts.scenes,
        cuts=tuple(shot["start"] for shot in index["shots"][1:]),
        patches=tuple(_patch(each) for each in shown),
        aspects=frozenset(each.shape[1] / each.shape[0] for each in shown),
        differences=tuple(
            _difference(each, case.film, entry["seconds"])
            for each, entry in zip(shown, sorted(index["images"], key=lambda entry: entry["file"]), strict=True)
        )
        if case.clean is not None
        else (),
        notes=made.facts.notes,
    )


def faults(case: FootageCase, speed: Speed, found: FootageResult) -> list[str]:
    """Differences between a result and the numbers of its case; empty if there are none."""
    frames = 0 if speed is Speed.EXACT else 2 / float(case.film.fps)  # of Fast, which does not decode all
    if case.refused or found.refused:
        right = bool(case.refused) and case.refused in found.refused
        return [] if right else [f"refused as {found.refused!r}, expected {case.refused!r}"]
    wrong = []
    shots = case.film.shots if case.shots is None else case.shots
    if case.counted and abs(found.shots - shots) > 1:
        wrong.append(f"{found.shots} shots of {shots}")
    near = [_nearest(patch) for patch in found.patches]
    pictured, expected = len({shot for shot, _ in near}), shots if case.pictures is None else case.pictures
    if pictured < expected:
        wrong.append(f"pictures of {pictured} shots, expected {expected}")
    if (off := max((error for _, error in near), default=0.0)) > case.colour:
        wrong.append(f"a colour {off:.1f} of 255 off")
    if case.aspects and not _are(found.aspects, case.aspects):
        wrong.append(f"pictures of aspects {sorted(found.aspects)}, expected {case.aspects}")
    if case.clean is not None and (off := max(found.differences, default=0.0)) > case.clean:
        wrong.append(f"a picture differs from its frame by {off:.1f}")
    if case.seconds is not None and (late := _late(case.film.cuts, found.cuts)) > case.seconds + frames + 1e-3:
        wrong.append(f"a cut {1000 * late:.0f} ms off")
    if case.note and not any(case.note in note for note in found.notes):
        wrong.append(f"notes {found.notes}, expected {case.note!r}")
    return wrong


def _are(found: frozenset[float], expected: tuple[float, ...]) -> bool:
    """Whether each expected aspect was found, and at most as many as expected."""
    near = [{each for each in found if abs(each / aspect - 1) <= _ASPECT} for aspect in expected]
    return all(near) and found == frozenset().union(*near) and len(found) <= len(expected)


def _read(path: Path) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    with av.open(BytesIO(path.read_bytes())) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def _patch(shown: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]") -> tuple[float, float, float]:
    height, width = shown.shape[:2]
    reach = max(int(0.06 * min(height, width)), 1)
    middle = shown[height // 2 - reach : height // 2 + reach, width // 2 - reach : width // 2 + reach]
    red, green, blue = middle.reshape(-1, 3).mean(axis=0)
    return float(red), float(green), float(blue)


def _difference(
    shown: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]", film: KnownFilm, seconds: float
) -> float:
    """Mean difference of a picture to the frame at that second, or the one beside it, 0-255."""
    at = round(seconds * float(film.fps))
    near = (min(max(each, 0), film.shots * film.frames_per_shot - 1) for each in (at - 1, at, at + 1))
    frames = (
        picture(each // film.frames_per_shot, film.width, film.height, each % film.frames_per_shot) for each in near
    )
    size = shown.shape[1], shown.shape[0]
    return min(float(np.abs(np.asarray(cv2.resize(frame, size), np.int16) - shown).mean()) for frame in frames)


def _nearest(patch: tuple[float, float, float]) -> tuple[int, float]:
    """Shot whose colour is nearest, and the largest error of a channel."""
    errors = [float(np.abs(np.subtract(colour, patch)).max()) for colour in COLOURS]
    shot = int(np.argmin(errors))
    return shot, errors[shot]


def _late(expected: tuple[float, ...], found: tuple[float, ...]) -> float:
    """Largest distance of a found cut to the nearest expected one; cuts that are not found are counted as shots."""
    return max((min(abs(each - cut) for cut in expected) for each in found), default=0.0) if expected else 0.0
