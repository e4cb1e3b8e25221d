"""Probing in a confined child: properties, hints for unsupported files, and limits."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from contentgen_worker.errors import BeyondLimits, Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits, pod_memory
from contentgen_worker.media.decode.decode import WHOLE, frames
from contentgen_worker.media.decode.probe import open_media, probe

BOUNDS = MediaLimits(pixels=10**7, seconds=3600)
GIB = 1 << 30


@pytest.mark.parametrize(
    ("content", "guess"),
    [
        (b"  <!DOCTYPE html><p>log in", "a web page"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a playlist"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn">', "a playlist"),
        (b"PK\x03\x04" + bytes(60), "an archive"),
        (bytes(257) + b"ustar" + bytes(300), "an archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "a picture"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "convert it, for example: ffmpeg"),
        (b"no more than words\n", "it is text"),
        (bytes(99), "damaged or cut off"),
        (b"\x00\x00\x00\x18ftypisom", "damaged or cut off"),
    ],
)
def test_what_can_not_be_opened_is_guessed_at(tmp_path: Path, content: bytes, guess: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(Unsupported, match=f"^not readable as .*{guess}"):
        probe(path, BOUNDS)


def clip(path: Path, count: int = 30) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for index in range(count):
            pixels = np.full((36, 64, 3), index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_frames_beyond_the_limit(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    with open_media(path) as container:
        assert len(list(frames(container, WHOLE, replace(BOUNDS, frames=30)))) == 30
    with open_media(path) as container, pytest.raises(BeyondLimits, match="more than 29 frames; cut it"):
        list(frames(container, WHOLE, replace(BOUNDS, frames=29)))


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ({"memory.max": "4294967296"}, 4),
        ({"memory.max": "max"}, 16),
        ({"memory/memory.limit_in_bytes": "2147483648"}, 2),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, 16),
        ({}, 16),
    ],
)
def test_what_the_pod_may_use(tmp_path: Path, cgroup: dict[str, str], expected: float) -> None:
    for name, content in cgroup.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16777216 kB\nMemFree:         1 kB\n")
    assert pod_memory(tmp_path, meminfo) / GIB == expected


@pytest.mark.parametrize(("pod", "children", "expected"), [(4, 1, 3.5), (4, 2, 1.75), (4, 64, 0.5), (64, 2, 8)])
def test_children_share_the_pods_memory(pod: int, children: int, expected: float) -> None:
    bounds = replace(BOUNDS, memory_bytes=pod * GIB)
    assert bounds.child_limits(children=children).memory_bytes / GIB == expected


def test_a_child_that_decodes_reads_its_file_alone(tmp_path: Path) -> None:
    limits = replace(BOUNDS, cpu_seconds=7).child_limits(tmp_path / "a")
    assert (limits.cpu_seconds, limits.files, limits.folder) == (7, (tmp_path / "a",), None)
