"""Fuzzer of a confined child's messages: real messages, damaged, are given to the parser and to the worker pool.

Each must end in a valid value, Malformed or a WorkerError; any other exception is a finding.
"""

import argparse
import random
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from contentgen_contract.resources.spec import SceneDetection
from contentgen_worker.errors import WorkerError
from contentgen_worker.media.audio.extract import ExtractedAudio
from contentgen_worker.media.audio.loudness import Loudness
from contentgen_worker.media.audio.tracks import AudioTrack
from contentgen_worker.media.codec import Malformed, decode, encode
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import Segment
from contentgen_worker.media.decode.probe import Recording
from contentgen_worker.media.sandbox.confinement import Confinement
from contentgen_worker.media.sandbox.protocol import parse
from contentgen_worker.media.select.faces import FaceBox
from contentgen_worker.media.select.picture import EncodedPicture, PictureSettings
from contentgen_worker.media.select.quality import Scores
from contentgen_worker.media.select.similarity import Thumbnail
from contentgen_worker.media.shots.analysis import ChosenFrame, PictureLength, SegmentProgress, SegmentResult, Task
from contentgen_worker.media.shots.best import FramePlan
from contentgen_worker.media.shots.boundaries import Boundary, BoundaryKind, ThumbnailBuffer
from contentgen_worker.media.worker_pool import WorkerPool

CORPUS = Path(__file__).resolve().parents[1] / "corpora/child_protocol"
_BATCH = 2_000
_LOOK = np.zeros((8, 8), np.uint8)
_SCORES = Scores(100.0, 40.0, 200.0, 1 << 63, faces=(FaceBox(0.1, 0.2, 0.3, 0.4),))
_THUMBNAIL = Thumbnail.from_planes(_LOOK, _LOOK, _LOOK)
_STRIP = ThumbnailBuffer.from_thumbnails([(9.0, _LOOK), (9.5, _LOOK)])
_CUT = Boundary(2.0, 2.04, BoundaryKind.CUT)

MESSAGES: tuple[tuple[str, object], ...] = (
    ("Confined", Confinement(7, seccomp=True)),
    ("Message", PictureLength(20.0)),
    ("Message", Segment(0, None, None, 250)),
    ("Message", Segment(1, 12, 250, None)),
    ("Message", Recording(10.0, 640, 360, "h264", "aac", 25.0)),
    ("Message", SegmentProgress(0, 4.0)),
    ("Message", ChosenFrame(1.5, EncodedPicture(b"\xff\xd8\xff\xd9", 640, 360, _SCORES, _THUMBNAIL), 0.5)),
    ("Message", SegmentResult(0, 250, 0.0, 10.0, 10.0, (_CUT,), _STRIP, _STRIP)),
    ("Message", SegmentResult(1, 250, 10.0, 20.0, 10.0, (_CUT, _CUT), _STRIP, ThumbnailBuffer())),
    (
        "Message",
        ExtractedAudio(
            10.0, AudioTrack(1, "aac", "en", default=True), 2, Loudness(-20.0, 8.0, silent=False), ("note",)
        ),
    ),
    ("Message", 0.5),
    ("Message", (np.zeros((2, 3, 3), np.uint8), "text", b"bytes", None, -1)),
    ("Refused", ("NoVideoTrack", "nothing to see", "look elsewhere")),
    ("Failed", "Traceback\nValueError: no"),
    ("Finished", None),
)


def fuzz(seed: int, count: int) -> int:
    """Try this many damaged messages; deterministic by seed. Returns how many parsed. A finding raises, with the bytes
    in a note."""
    generator = random.Random(seed)
    seeds = corpus()
    read = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            content = damaged(generator, seeds)
            try:
                read += attempt(content, Path(folder))
            except Exception as error:
                error.add_note(f"answer: {content.hex()}")
                raise
    return read


def corpus() -> list[bytes]:
    """Messages that our code sends, and stored findings."""
    return [encode(message) for message in MESSAGES] + [path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))]


def attempt(content: bytes, folder: Path) -> bool:
    """Whether a message parses. Raises AssertionError if its value changes when encoded again."""
    try:
        kind, value = parse(content)
    except (Malformed, WorkerError):
        return False
    if kind.value not in ("Refused", "Failed", "Finished"):
        again = decode(encode(value))
        assert type(again) is type(value), "another value after a second crossing"
        for _ in range(2):
            with suppress(WorkerError):
                _handle(value, folder)
    return True


def _handle(value: Any, folder: Path) -> None:
    """Handle the value in a worker pool, between two known segments."""
    task = Task(Path("none"), MediaLimits(10**7, 60), SceneDetection(), FramePlan(1, 1, 1), PictureSettings())
    pool = WorkerPool(task, folder, lambda _: None)
    for number in (0, 1, 2):
        pool._register(Segment(number))
    if isinstance(value, Segment):
        pool._register(value)
        return
    pool._handle(SegmentResult(1, 1, 0.0, 1.0, 1.0, (), _STRIP, _STRIP))
    pool._handle(value)
    pool.results()


def damaged(generator: random.Random, seeds: list[bytes]) -> bytes:
    """One of the seeds with one to four mutations."""
    content = bytearray(generator.choice(seeds))
    for _ in range(generator.randint(1, 4)):
        generator.choice(_DAMAGES)(generator, content, seeds)
    return bytes(content)


def _flip(generator: random.Random, content: bytearray, _: list[bytes]) -> None:
    if content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)


def _number(generator: random.Random, content: bytearray, _: list[bytes]) -> None:
    """Overwrite four bytes by a boundary value."""
    at = generator.randrange(len(content) + 1)
    choice = generator.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FF00000, 0x7FF80000, 0xFFF00000))
    content[at : at + 4] = choice.to_bytes(4, "little")


def _tag(generator: random.Random, content: bytearray, _: list[bytes]) -> None:
    if content:
        content[generator.randrange(len(content))] = generator.randrange(12)


def _cut(generator: random.Random, content: bytearray, _: list[bytes]) -> None:
    start, end = sorted(generator.randrange(len(content) + 1) for _ in "12")
    del content[start:end]


def _splice(generator: random.Random, content: bytearray, seeds: list[bytes]) -> None:
    """Insert a part of another message."""
    other = generator.choice(seeds)
    start, end = sorted(generator.randrange(len(other) + 1) for _ in "12")
    at = generator.randrange(len(content) + 1)
    content[at:at] = other[start:end]


def _nest(generator: random.Random, content: bytearray, _: list[bytes]) -> None:
    """Insert nested sequences of one value."""
    at = generator.randrange(len(content) + 1)
    content[at:at] = b"\x08\x01\x00\x00\x00" * generator.choice((1, 15, 16, 17, 5000))


_DAMAGES = (_flip, _number, _tag, _cut, _splice, _nest)


def main() -> None:
    """Fuzz for some minutes with new inputs. Raises on a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    until = time.monotonic() + 60 * parser.parse_args().minutes
    tried = 0
    while time.monotonic() < until:
        seed = secrets.randbits(32)
        fuzz(seed, _BATCH)
        tried += _BATCH
    print(f"child protocol: {tried} answers, no finding")  # noqa: T201 - a command-line tool


if __name__ == "__main__":
    main()
