"""Baseline: the usual way from a video to a training set, as fast as its tools allow. A program of its own.

PySceneDetect reads the whole file with its automatic downscale. Three seeks per shot follow, and the sharpest of the
three frames is kept. Then come filters, removal of near-duplicates, JPEG encoding and sequential uploads.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import cv2
import numpy as np
import numpy.typing as npt
from botocore.config import Config
from scenedetect import SceneDetector, SceneManager  # type: ignore[import-untyped]
from scenedetect.backends.pyav import VideoStreamAv  # type: ignore[import-untyped]
from scenedetect.detectors import (  # type: ignore[import-untyped]
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
)

Pixels = npt.NDArray[np.uint8]
_LONGEST_SIDE = 1024
_SEEKS = (0.25, 0.5, 0.75)
_DARK, _BRIGHT, _FLAT, _BLURRED, _SAME = 18.0, 240.0, 6.0, 0.12, 5
_MOST = 100
DETECTORS: dict[str, Callable[[], SceneDetector]] = {
    "content": ContentDetector,
    "adaptive": AdaptiveDetector,
    "histogram": HistogramDetector,
    "hash": HashDetector,
}
BEST = "adaptive"  # the most accurate of the four at their defaults, on the videos of both sets


@dataclass(frozen=True)
class UsualPicture:
    """Image of a shot, with its measured properties."""

    pixels: Pixels
    luma: float
    contrast: float
    sharpness: float
    fingerprint: int


class _Noted(SceneDetector):  # type: ignore[misc]  # scenedetect is untyped
    """Detector that records its own cuts, so that one decode serves several detectors."""

    def __init__(self, inner: SceneDetector) -> None:
        super().__init__()
        self.inner = inner
        self.cuts: list[float] = []

    def process_frame(self, timecode: Any, frame_img: Any) -> list[Any]:
        self.cuts += [cut.seconds for cut in self.inner.process_frame(timecode, frame_img)]
        return []

    def post_process(self, timecode: Any) -> list[Any]:
        self.cuts += [cut.seconds for cut in self.inner.post_process(timecode)]
        return []

    @property
    def event_buffer_length(self) -> int:
        return int(self.inner.event_buffer_length)


def cuts(path: Path, detectors: Sequence[SceneDetector]) -> list[list[float]]:
    """Cuts of each detector in seconds, from one SceneManager run."""
    manager = SceneManager()  # downscales frames to a width of about 256 pixels
    noted = [_Noted(detector) for detector in detectors]
    for each in noted:
        manager.add_detector(each)
    manager.detect_scenes(VideoStreamAv(str(path), threading_mode="AUTO", suppress_output=True))
    return [sorted(each.cuts) for each in noted]


def shots(path: Path) -> list[tuple[float, float]]:
    """Start and end of each shot in seconds."""
    manager = SceneManager()
    manager.add_detector(DETECTORS[BEST]())
    manager.detect_scenes(VideoStreamAv(str(path), threading_mode="AUTO", suppress_output=True))
    return [(start.seconds, end.seconds) for start, end in manager.get_scene_list(start_in_scene=True)]


def best_of_three(path: Path, found: Sequence[tuple[float, float]]) -> list[UsualPicture]:
    """Sharpest of three frames of each shot. Each frame costs a seek and a decode."""
    capture = cv2.VideoCapture(str(path))
    best: list[UsualPicture] = []
    for start, end in found:
        frames = [_at(capture, start + (end - start) * share) for share in _SEEKS]
        taken = [_measured(frame) for frame in frames if frame is not None]
        if taken:
            best.append(max(taken, key=lambda each: each.sharpness))
    capture.release()
    return best


def _at(capture: cv2.VideoCapture, seconds: float) -> Pixels | None:
    capture.set(cv2.CAP_PROP_POS_MSEC, seconds * 1000)
    read, frame = capture.read()
    return np.asarray(frame, np.uint8) if read else None


def _measured(frame: Pixels) -> UsualPicture:
    height, width = frame.shape[:2]
    factor = min(1.0, _LONGEST_SIDE / max(width, height))
    pixels = np.asarray(
        cv2.resize(frame, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA), np.uint8
    )
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    low = cv2.dct(cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8].flatten()[1:]
    bits = "".join("1" if bit else "0" for bit in low > np.median(low))
    sharpness = float(cv2.Laplacian(gray, cv2.CV_64F).var())
    return UsualPicture(pixels, float(gray.mean()), float(gray.std()), sharpness, int(bits, 2))


def chosen(taken: Sequence[UsualPicture]) -> list[UsualPicture]:
    """Images that are not dark, bright, flat, blurred or near-duplicates; at most 100, spread over the video."""
    median = float(np.median([each.sharpness for each in taken])) if taken else 0.0
    kept: list[UsualPicture] = []
    for each in taken:
        fine = _DARK <= each.luma <= _BRIGHT and each.contrast >= _FLAT and each.sharpness >= _BLURRED * median
        if fine and not any((each.fingerprint ^ other.fingerprint).bit_count() <= _SAME for other in kept):
            kept.append(each)
    if len(kept) <= _MOST:
        return kept
    return [kept[int((index + 0.5) * len(kept) / _MOST)] for index in range(_MOST)]


def store(pictures: Sequence[UsualPicture], folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Upload the files sequentially with `put_object`. Access keys come from the environment."""
    style = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2})
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=style)
    for number, picture in enumerate(pictures, 1):
        image, text = folder / f"{number:04}.jpg", folder / f"{number:04}.txt"
        cv2.imwrite(str(image), picture.pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
        text.write_text("a photo of jf")
        for path in (image, text):
            client.put_object(Bucket=bucket, Key=f"{prefix}{path.name}", Body=path.read_bytes())


def main() -> None:
    """Make a training set and upload it. Arguments: video, folder, and the store's endpoint, bucket and prefix."""
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    begun = time.monotonic()
    found = shots(path)
    print(f"detected {len(found)} shots: {time.monotonic() - begun:.1f} s")
    pictures = chosen(best_of_three(path, found))
    print(f"chose {len(pictures)} pictures: {time.monotonic() - begun:.1f} s")
    store(pictures, folder, *sys.argv[3:6])
    print(f"stored: {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
