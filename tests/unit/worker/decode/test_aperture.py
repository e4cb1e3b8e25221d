"""Clean aperture of headers, sound and broken ones."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contentgen_worker.media.decode.aperture import clean_aperture

SIZE = (720, 576)
TRACK = 7


def box(name: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), name) + inside


def clap(*numbers: int) -> bytes:
    return box(b"clap", struct.pack(">8i", *numbers))


def track(number: int, *inside: bytes) -> bytes:
    entry = box(b"avc1", bytes(24), struct.pack(">2H", *SIZE), bytes(50), *inside)
    tables = box(b"stbl", box(b"stsd", bytes(8), entry))
    return box(
        b"trak", box(b"tkhd", bytes(12), struct.pack(">I", number), bytes(68)), box(b"mdia", box(b"minf", tables))
    )


def mp4(*inside: bytes) -> bytes:
    other = track(TRACK + 1, clap(400, 1, 400, 1, 0, 1, 0, 1))
    return box(b"ftyp", bytes(8)) + box(b"mdat", bytes(99)) + box(b"moov", box(b"mvhd"), other, track(TRACK, *inside))


def element(name: str, *content: bytes, unknown: bool = False) -> bytes:
    inside = b"".join(content)
    size = b"\x01" + b"\xff" * 7 if unknown else (len(inside) | 1 << 28).to_bytes(4, "big")
    return bytes.fromhex(name) + size + inside


def number(name: str, value: int) -> bytes:
    return element(name, value.to_bytes(2, "big"))


def matroska(*crops: bytes) -> bytes:
    video = element("e0", number("b0", SIZE[0]), number("ba", SIZE[1]), *crops)
    sound, cover = element("ae", number("83", 2)), element("ae", number("83", 1), element("e0"))
    tracks = element("1654ae6b", sound, cover, element("ae", number("83", 1), video))
    header = element("1a45dfa3", bytes(5))
    return header + element("18538067", element("ec", bytes(9)), tracks, element("1f43b675"), unknown=True)


def shown(path: Path, content: bytes) -> tuple[int, int, int, int] | None:
    path.write_bytes(content)
    stream: Any = SimpleNamespace(id=TRACK)
    name = "matroska,webm" if content.startswith(b"\x1a") else "mov,mp4"
    container: Any = SimpleNamespace(format=SimpleNamespace(name=name), streams=SimpleNamespace(video=[None, stream]))
    found = clean_aperture(path, container, stream)
    assert found is None or found.area(10, 20) == (0, 0, 10, 20), "frames of another size"
    return found.area(*SIZE) if found else None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (mp4(clap(704, 1, 576, 1, 0, 1, 0, 1)), (8, 0, 712, 576)),
        (mp4(box(b"pasp", bytes(8)), clap(704, 1, 560, 1, -8, 1, 16, 2)), (0, 16, 704, 576)),
        (mp4(clap(1405, 2, 576, 1, 0, 1, 0, 1)), (9, 0, 711, 576)),
        (matroska(number("54cc", 8), number("54dd", 4), number("54bb", 2), number("54aa", 6)), (8, 2, 716, 570)),
        (matroska(number("54aa", 6)), (0, 0, 720, 570)),
    ],
    ids=["broadcast", "aside", "half a pixel", "all sides", "below"],
)
def test_visible_area(tmp_path: Path, content: bytes, expected: tuple[int, int, int, int]) -> None:
    assert shown(tmp_path / "file", content) == expected


@pytest.mark.parametrize(
    "content",
    [
        mp4(),
        mp4(clap(720, 1, 576, 1, 0, 1, 0, 1)),
        mp4(clap(800, 1, 576, 1, 0, 1, 0, 1)),
        mp4(clap(704, 1, 576, 1, 20, 1, 0, 1)),
        mp4(clap(704, 1, 576, 1, -20, 1, 0, 1)),
        mp4(clap(0, 1, 576, 1, 0, 1, 0, 1)),
        mp4(clap(-704, 1, 576, 1, 0, 1, 0, 1)),
        mp4(clap(300, 1, 576, 1, 0, 1, 0, 1)),
        mp4(clap(704, 0, 576, 1, 0, 1, 0, 1)),
        mp4(clap(704, 1, 576, 1, 0, 0, 0, 1)),
        mp4(clap(704, 1, 576, 1, 0, 1, 2**31 - 1, 1)),
        mp4(box(b"clap", bytes(5))),
        mp4(clap(704, 1, 576, 1, 0, 1, 0, 1))[:-9],
        box(b"moov", box(b"trak", box(b"tkhd"))),
        struct.pack(">I4sQ", 1, b"moov", 2**64 - 1),
        struct.pack(">I4s", 3, b"moov"),
        box(b"free") * 5000,
        b"",
        matroska(),
        matroska(number("54cc", 400)),
        matroska(number("54cc", 720), number("54dd", 8)),
        matroska(number("54cc", 8))[:-30],
        matroska(bytes.fromhex("54cc")),  # its size is outside the element around it
        bytes.fromhex("1a45dfa3") + bytes(40),
        bytes.fromhex("1a45dfa3ff"),
    ],
)
def test_implausible_aperture_is_ignored(tmp_path: Path, content: bytes) -> None:
    assert shown(tmp_path / "file", content) is None
