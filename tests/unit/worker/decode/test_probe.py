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
_CONVERT = "convert it, for example: ffmpeg -i FILE -c:v libx264"


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
        (b"\xef\xbb\xbf<!-- cached -->\n<html><body>", "a web page"),
        (b'<?xml version="1.0"?>\n<rss version="2.0">', "a feed; use the URL of one recording"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "an error message of an object store"),
        (b'{"error": "not found"}', "JSON"),
        (b"", "it is empty"),
        (b"<!---->" * 140, "it is text"),  # once 2^139 ways to divide them
        (b"GIF89a" + bytes(13) + b"\x21\xff\x0bNETSCAPE2.0", "animated; convert it"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(14) + b"ANIM", "animated; convert it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(25) + b"acTL", "animated; convert it"),
        (b"\x00\x00\x01\xba\x44" + bytes(60), _CONVERT),  # MPEG-PS, VOB
        (b"\x06\x0e\x2b\x34" + bytes(60), _CONVERT),  # MXF
        (b"\x1f\x07\x00\x3f" + bytes(60), _CONVERT),  # DV
        (b"DKIF" + bytes(60), _CONVERT),  # IVF
        (b"YUV4MPEG2 W4 H4 F25:1", _CONVERT),
        (b"RIFF\x00\x00\x00\x00AVI LIST", _CONVERT),
        (b"\x00\x00\x00\x01\x67\x42" + bytes(60), "without times; wrap it, for example: ffmpeg"),  # H.264
        (b"\x00\x00\x00\x01\x40\x01" + bytes(60), "without times; wrap it, for example: ffmpeg"),  # HEVC
        (b"no more than words\n", "it is text"),
        (bytes(99), "its first bytes are those of no recording"),
        (b"OggS" + bytes(60), "begins as such a file, but"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(12), "index .moov. is missing"),
        (
            b"\x00\x00\x00\x18ftypisom" + bytes(12) + b"\x00\x00\x00\x14moov\x00\x00\x00\x0ccmov\x00\x00\x00\x01",
            "index .moov. is there, but",
        ),
    ],
)
def test_unreadable_limits_are_guessed(tmp_path: Path, content: bytes, guess: str) -> None:
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
def test_limits_of_the_pod(tmp_path: Path, cgroup: dict[str, str], expected: float) -> None:
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
