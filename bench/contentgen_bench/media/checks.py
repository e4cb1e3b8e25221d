"""Scores of a finished dataset and of PySceneDetect's cuts, by comparison with the video's ground truth."""

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media import scoring, usual_way
from contentgen_bench.media.scoring import Chosen, DetectionErrors, Score
from contentgen_bench.media.videos import Video
from contentgen_contract.resources.spec import Speed

TRIGGER = "jf"  # trigger word of the datasets


def dataset_command(video: Path, out: Path, speed: Speed, settings: Mapping[str, Any]) -> list[str]:
    """Command of the engine from a file to a folder."""
    options = ["--speed", speed.value, "--trigger", TRIGGER, "--settings", json.dumps(settings)]
    return [sys.executable, "-m", "contentgen_worker", "dataset", str(video), str(out), *options]


def boundaries(out: Path) -> list[tuple[float, float]]:
    """Shot boundaries of a dataset.json: end of a shot and start of the next one, in seconds."""
    shots = json.loads((out / "dataset.json").read_text())["shots"]
    return [(before["end"], after["start"]) for before, after in pairwise(shots)]


def pyscenedetect(video: Video) -> dict[str, Score]:
    """Score of each PySceneDetect detector at its defaults.

    One decode serves all detectors. Their cuts are cached beside the video, by PySceneDetect's version.
    """
    path = video.path.with_suffix(f".pyscenedetect-{version('scenedetect')}.json")
    names = list(usual_way.DETECTORS)
    if not path.exists():
        found = usual_way.cuts(video.path, [usual_way.DETECTORS[name]() for name in names])
        path.write_text(json.dumps(dict(zip(names, found, strict=True))))
    kept = json.loads(path.read_text())
    return {name: scoring.score(video.truth, [(cut, cut) for cut in kept[name]]) for name in names}


def faults(video: Video, out: Path) -> DetectionErrors:
    """Errors among the selected frames of a dataset, by this module's own sharpness and fingerprint."""
    clock, sharp = np.array(video.truth.seconds), sharpness(video)
    best = [
        float(sharp[(clock >= shot.start - 1e-3) & (clock <= shot.end + 1e-3)].max(initial=0.0))
        for shot in video.truth.shots
    ]
    images: Sequence[Mapping[str, Any]] = json.loads((out / "dataset.json").read_text())["images"]
    chosen = [
        Chosen(
            image["seconds"],
            float(sharp[int(np.abs(clock - image["seconds"]).argmin())]),
            fingerprint(out / image["file"]),
        )
        for image in images
    ]
    return scoring.faults(video.truth, chosen, best)


def sharpness(video: Video) -> npt.NDArray[np.float32]:
    """Sharpness of each frame: variance of the Laplacian of its luma. Cached beside the video."""
    path = video.path.with_suffix(".sharpness.npy")
    if not path.exists():
        with av.open(str(video.path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            found = [_laplacian(frame) for frame in container.decode(video=0)]
        np.save(path, np.array(found, np.float32))
    return np.asarray(np.load(path), np.float32)


def _laplacian(frame: av.VideoFrame) -> float:
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    return float(cv2.Laplacian(luma, cv2.CV_16S).var())


def fingerprint(path: Path) -> int:
    """Perceptual hash of an image in 64 bits: its lowest DCT coefficients, each compared with their median.

    It is independent of the engine's hash. Raises FileNotFoundError if the file is missing or not an image.
    """
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if gray is None:
        raise FileNotFoundError(path)
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, 1:9].flatten()
    return int("".join("1" if bit else "0" for bit in low > np.median(low)), 2)
