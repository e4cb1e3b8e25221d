"""What the engine makes of a case, compared with its numbers."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
import numpy as np

from contentgen_contract.resources.spec import LoraTrainingSpec, Speed
from contentgen_footage.case import Case
from contentgen_footage.films import COLOURS
from contentgen_worker.errors import BadMedia
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.prepare.lora import training_set
from contentgen_worker.progress import Steps

_BOUNDS = MediaLimits(pixels=3840 * 2160, seconds=12 * 3600)


@dataclass(frozen=True)
class Found:
    """Result of a case: shots, seconds of the cuts, and the mean colour of each picture's patch; or the refusal."""

    shots: int = 0
    cuts: tuple[float, ...] = ()
    patches: tuple[tuple[float, float, float], ...] = ()
    sizes: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()
    refused: str = ""


def analyse(case: Case, speed: Speed, folder: Path) -> Found:
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
        return Found(refused=f"{error.reason}: {error}")
    index = next(json.loads(each.content) for each in made.outputs if isinstance(each.content, bytes) and each.name == "dataset.json")
    pictures = [each.content for each in made.outputs if each.name.endswith(".jpg") and isinstance(each.content, Path)]
    shown = [_read(each) for each in pictures]
    return Found(
        shots=made.facts.scenes,
        cuts=tuple(each["start"] for each in index["shots"][1:]),
        patches=tuple(_patch(each) for each in shown),
        sizes=frozenset((each.shape[1], each.shape[0]) for each in shown),
        notes=getattr(made.facts, 'notes', ()),
    )


def faults(case: Case, found: Found) -> list[str]:
    """Where a result differs from the numbers of its case; empty: it is right."""
    if case.refused or found.refused:
        right = bool(case.refused) and case.refused in found.refused
        return [] if right else [f"refused as {found.refused!r}, expected {case.refused!r}"]
    wrong = []
    if case.shots is not None and abs(found.shots - case.shots) > 1:
        wrong.append(f"{found.shots} shots of {case.shots}")
    near = [_nearest(each) for each in found.patches]
    if len({shot for shot, _ in near}) < case.pictures:
        wrong.append(f"pictures of {len({shot for shot, _ in near})} shots, expected {case.pictures}")
    if (off := max((error for _, error in near), default=0.0)) > case.colour:
        wrong.append(f"a colour {off:.1f} of 255 off")
    if case.size and found.sizes != {case.size}:
        wrong.append(f"pictures of {sorted(found.sizes)}, expected {case.size}")
    if case.seconds is not None and (late := _late(case.film.cuts, found.cuts)) > case.seconds + 1e-6:
        wrong.append(f"a cut {1000 * late:.0f} ms off")
    if case.note and not any(case.note in each for each in found.notes):
        wrong.append(f"notes {found.notes}, expected {case.note!r}")
    return wrong


def _read(path: Path) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    with av.open(BytesIO(path.read_bytes())) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def _patch(shown: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]") -> tuple[float, float, float]:
    height, width = shown.shape[:2]
    middle = shown[int(height * 0.44) : int(height * 0.56), int(width * 0.44) : int(width * 0.56)]
    red, green, blue = middle.reshape(-1, 3).mean(axis=0)
    return float(red), float(green), float(blue)


def _nearest(patch: tuple[float, float, float]) -> tuple[int, float]:
    """Shot whose colour is nearest, and the largest error of a channel."""
    errors = [float(np.abs(np.subtract(colour, patch)).max()) for colour in COLOURS]
    shot = int(np.argmin(errors))
    return shot, errors[shot]


def _late(expected: tuple[float, ...], found: tuple[float, ...]) -> float:
    """Largest distance of a found cut to the nearest expected one; cuts that are not found are counted as shots."""
    return max((min(abs(each - cut) for cut in expected) for each in found), default=0.0) if expected else 0.0
