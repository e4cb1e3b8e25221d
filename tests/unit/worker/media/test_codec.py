"""Messages of a confined child: transferable values, and malformed messages refused before anything is built."""

import math
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contentgen_hostile import child_protocol
from contentgen_worker.media.codec import MAX_DEPTH, MAX_VALUES, Malformed, decode, encode, transferable
from contentgen_worker.media.decode.decode import Segment
from contentgen_worker.media.select.quality import Scores
from contentgen_worker.media.shots.analysis import PictureLength, SegmentResult
from contentgen_worker.media.shots.boundaries import Boundary, BoundaryKind, ThumbnailBuffer


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, -1, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1, 0.5, -1e300, "grüezi", b"\x00\xff", ()),
        ((1, ("a", b"b")), None),
        Segment(3, None, 5, None),
        Boundary(1.0, 1.5, BoundaryKind.CUT),
        ThumbnailBuffer((2, 2), (1.0, 2.0), bytes(8)),
        Scores(1.0, 2.0, 3.0, (1 << 64) - 1),
    ],
)
def test_encoded_value_is_decoded_equal(value: object) -> None:
    again = decode(encode(value))
    assert (again, type(again)) == (value, type(value))


def test_list_is_decoded_as_tuple_and_enum_word_as_member() -> None:
    assert decode(encode([1, [2]])) == (1, (2,))
    assert decode(encode(Boundary(0.0, 1.0, BoundaryKind.FADE))).kind is BoundaryKind.FADE


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_arrays_cross(kind: Any) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    again = decode(encode(array))
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert np.array_equal(again, array)


@dataclass(frozen=True)
class Foreign:
    """Dataclass that is not marked as transferable."""

    value: int = 1


@pytest.mark.parametrize("value", [Foreign(), object(), {"a": 1}, {1}, int, np.zeros(2, object), np.zeros(2, bool)])
def test_values_that_cannot_be_encoded(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1 << 64, -(1 << 63) - 1])
def test_numbers_that_do_not_cross(value: float) -> None:
    with pytest.raises(ValueError, match=r"finite|64 bits"):
        encode(value)


def test_a_name_crosses_for_one_class_only() -> None:
    @dataclass(frozen=True)
    class Segment:
        number: int

    with pytest.raises(TypeError, match="its name is already registered"):
        transferable(Segment)


def record(name: str, *fields: object) -> bytes:
    """Encoded dataclass with any values in its fields."""
    return b"\x09" + struct.pack("<I", len(name)) + name.encode() + encode(fields)


def sequence(count: int, content: bytes = b"") -> bytes:
    return b"\x08" + struct.pack("<I", count) + content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cut off"),
        (b"\x0b", "tag 11"),
        (b"\xff", "tag 255"),
        (encode(1)[:-1], "cut off"),
        (encode(1) + b"\x00", "bytes follow"),
        (pickle.dumps(("Message", 1)), "tag 128"),
        (b"\x05" + struct.pack("<d", math.nan), "finite"),
        (b"\x05" + struct.pack("<d", math.inf), "finite"),
        (b"\x06\x01\x00\x00\x00\xff", "utf-8"),
        (b"\x07\xff\xff\xff\xff", "cut off"),
        (sequence(0xFFFFFFFF), "announced"),
        (sequence(1) * (MAX_DEPTH + 1) + b"\x00", "deeper than"),
        (sequence(1) * 100_000, "deeper than"),
        (sequence(MAX_VALUES, bytes(MAX_VALUES)), "more than"),
        (b"\x0a\x00\x05" + struct.pack("<5I", 1, 1, 1, 1, 1), "5 dimensions"),
        (b"\x0a\x00\x00", "0 dimensions"),
        (b"\x0a\x09\x01" + struct.pack("<I", 1), "type 9"),
        (b"\x0a\x00\x04" + struct.pack("<4I", *[0xFFFFFFFF] * 4), "cut off"),
        (record("object"), "not transferable"),
        (record("Verdict", "a", "b"), "not transferable"),
        (record("Segment", 1), "fields of Segment"),
        (record("Segment", True, None, None, None), r"Segment\.number is bool"),
        (record("Segment", 1, "x", None, None), r"Segment\.seek is str"),
        (record("Boundary", 1.0, 2.0, "Melt"), "Melt"),
        (record("Boundary", 1.0, 2.0, ("Cut",)), "BoundaryKind"),
        (record("Boundary", 2.0, 1.0, "Cut"), "a boundary from"),
        (record("ThumbnailBuffer", (2, -2), (), b""), "bytes for 0 thumbnails"),
        (record("ThumbnailBuffer", (2, 2), (1.0,), b"123"), "3 bytes for 1 thumbnails"),
        (record("ThumbnailBuffer", (1,), (2.0, 1.0), b"12"), "order of time"),
        (record("ThumbnailBuffer", 4, (), b""), "expected a tuple"),
        (record("SegmentProgress", 1, b"x"), r"SegmentProgress\.seconds is bytes"),
        (record("FaceBox", 1.0, 1.0, 1.0), "fields of FaceBox"),
        (record("Scores", 1.0, 1.0, 1.0, -1, (1.0, 1.0), *[0.0] * 5, ()), "fingerprint"),
        (record("Thumbnail", bytes(4096), bytes(1024), bytes(1023)), "a thumbnail of"),
        (record("Thumbnail", bytes(4096), bytes(1024), None), r"Thumbnail\.v is NoneType"),
        (record("EncodedPicture", b"", 640, 360, 1.0, 1.0, False), r"EncodedPicture\.scores is float"),
        (record("Scores", 1.0, 1.0, 1.0, 1, (1.0,), *[0.0] * 5, ()), "has 1 values, expected 2"),
    ],
)
def test_malformed_message_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(content)


def test_an_integer_stands_for_a_float() -> None:
    assert decode(record("SegmentProgress", 1, 2)).seconds == 2.0


def test_an_end_without_frames_is_malformed() -> None:
    with pytest.raises(ValueError, match="0 frames"):
        SegmentResult(0, 0, 0.0, 1.0, 1.0, (), ThumbnailBuffer(), ThumbnailBuffer())


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_a_length_of_pictures_is_positive_and_finite(seconds: float) -> None:
    with pytest.raises(ValueError, match="pictures of"):
        PictureLength(seconds)


def test_damaged_answers_end_in_a_message_or_in_malformed() -> None:
    assert child_protocol.fuzz(seed=14, count=3000) > 0


@pytest.mark.parametrize("path", sorted(child_protocol.CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_kept_answers_end_well(path: Path, tmp_path: Path) -> None:
    child_protocol.attempt(path.read_bytes(), tmp_path)


def test_seeds_of_the_fuzzer_are_decoded(tmp_path: Path) -> None:
    assert all(child_protocol.attempt(encode(message), tmp_path) for message in child_protocol.MESSAGES)


def test_the_fuzzer_finds_a_reader_that_checks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThumbnailBuffer, "__post_init__", lambda _: None)
    monkeypatch.setattr("contentgen_worker.media.codec._checked", lambda value, *_: value)
    with pytest.raises(Exception, match=r".") as found:
        child_protocol.fuzz(seed=14, count=20_000)
    assert any(note.startswith("answer: ") for note in found.value.__notes__)
