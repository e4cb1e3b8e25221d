"""Corpus of hostile files: name, content and permitted outcomes of both kinds. The same on every run."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from PIL import Image

from contentgen_contract.names import Reason
from contentgen_hostile.bases import BASES, FRAMES, ODD, encoded
from contentgen_hostile.containers import box, boxes, chunk, ebml, found, number, patched, replaced

Allowed = frozenset[Reason]
FINE: Allowed = frozenset({Reason.COMPLETED})
REFUSED: Allowed = frozenset(
    {
        Reason.UNSUPPORTED_MEDIA,
        Reason.SOURCE_TOO_LARGE,
        Reason.NO_VIDEO,
        Reason.NO_AUDIO,
        Reason.INSUFFICIENT_FRAMES,
    }
)
ANY: Allowed = FINE | REFUSED
UNREADABLE: Allowed = frozenset({Reason.UNSUPPORTED_MEDIA})
NO_VIDEO: Allowed = frozenset({Reason.NO_VIDEO})
NO_AUDIO: Allowed = frozenset({Reason.NO_AUDIO})
TOO_LARGE: Allowed = frozenset({Reason.SOURCE_TOO_LARGE})
FEW: Allowed = frozenset({Reason.INSUFFICIENT_FRAMES})


@dataclass(frozen=True)
class HostileSample:
    """Hostile file, and its permitted reasons as the source of a training and of a transcription. `made`: content, or a
    function that makes it on demand."""

    name: str
    made: bytes | Callable[[], bytes]
    lora: Allowed = ANY
    sound: Allowed = ANY

    @cached_property
    def content(self) -> bytes:
        """File content."""
        return self.made if isinstance(self.made, bytes) else self.made()


@dataclass(frozen=True)
class Canary:
    """Recording that must never be opened, on disk and behind a loopback server."""

    path: Path
    url: str


def corpus(group: str, canary: Canary) -> Iterator[HostileSample]:
    """All files of a group."""
    samples = playlists(canary) if group == "playlists" else _GROUPS[group]()
    for sample in samples:
        yield replace(sample, name=f"{group}/{sample.name}")


def intact() -> Iterator[HostileSample]:
    """Valid files that must succeed: a guard that refuses everything would pass all others."""
    for name, base in BASES.items():
        yield HostileSample(
            name, partial(encoded, name), FINE if base.video else NO_VIDEO, FINE if base.audio else NO_AUDIO
        )


_LORA = {
    **dict.fromkeys(("avi", "flv", "gif", "ffv1", "qtrle", "png-in-mov", "asf"), UNREADABLE),
    **dict.fromkeys(("one-frame", "two-frames"), FINE | FEW),
    **dict.fromkeys(("very-wide", "very-high", "tiny", "negative", "hdr"), FINE | FEW | UNREADABLE),
    "a-gap-of-an-hour": TOO_LARGE,
}
_SOUND = {
    **dict.fromkeys(("avi", "flv", "gif", "adpcm", "asf"), UNREADABLE),
    **dict.fromkeys(("a-gap-of-an-hour",), NO_AUDIO | TOO_LARGE),
}


def odd() -> Iterator[HostileSample]:
    """Rare but valid files, and unsupported ones."""
    for name, base in ODD.items():
        lora = _LORA.get(name, FINE if base.video else NO_VIDEO)
        sound = _SOUND.get(name, FINE if base.audio else NO_AUDIO)
        yield HostileSample(name, partial(encoded, name), lora, sound)
    plain = encoded("mp4-h264-aac")
    matrix = found(plain, b"tkhd").start + 8 + 40
    for degrees, (a, b, c, d) in {
        90: (0, 1, -1, 0),
        180: (-1, 0, 0, -1),
        270: (0, -1, 1, 0),
        45: (1, 1, -1, 1),
    }.items():
        values = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        yield HostileSample(f"rotated-{degrees}", patched(plain, matrix, values), FINE, FINE)
    yield HostileSample("rotation-is-noise", patched(plain, matrix, bytes(range(1, 37))), ANY, FINE)
    yield HostileSample("matrix-is-zero", patched(plain, matrix, bytes(36)), ANY, FINE)
    for wide, high in ((1, 4), (4, 1), (1, 10**6), (10**6, 1), (0, 0), (2**32 - 1, 1)):
        yield HostileSample(f"pixel-aspect-{wide}-{high}", _with_aspect(plain, wide, high), ANY, FINE)
    yield HostileSample("cover-art", lambda: _cover(encoded("mp3")), NO_VIDEO, FINE)
    yield HostileSample("cover-art-is-a-bomb", lambda: _cover(encoded("mp3"), _huge_png()), ANY, ANY)
    yield HostileSample("junk-before", lambda: random.Random(1).randbytes(1000) + encoded("mp3"), REFUSED, ANY)
    yield HostileSample("junk-after", plain + random.Random(2).randbytes(10_000), FINE, FINE)
    yield HostileSample("twice", plain + plain, FINE, FINE)
    yield HostileSample("ts-twice", partial(_joined, "ts-h264-aac", "ts-h264-aac"), FINE, FINE)
    yield HostileSample("two-codecs", partial(_joined, "ts-h264-aac", "ts-mpeg2-mp2"), ANY, ANY)
    yield HostileSample("two-sizes", partial(_joined, "ts-mpeg2-mp2", "interlaced"), ANY, ANY)
    yield HostileSample("no-sync", lambda: encoded("ts-h264-aac")[3:], ANY, ANY)
    for name in ("ogg-opus", "flac", "aac", "wav"):
        yield HostileSample(f"{name}-twice", partial(_joined, name, name), NO_VIDEO, FINE)


def _joined(*names: str) -> bytes:
    return b"".join(map(encoded, names))


def _with_aspect(content: bytes, wide: int, high: int) -> bytes:
    """Content with a box for the pixel aspect ratio."""
    entry = content.index(b"avc1", content.index(b"stsd") + 4) - 4
    size = int.from_bytes(content[entry : entry + 4], "big")
    stsd = found(content, b"stsd")
    pasp = box(b"pasp", struct.pack(">II", wide, high))
    body = content[stsd.start + 8 : entry] + struct.pack(">I", size + len(pasp))
    return replaced(content, stsd, box(b"stsd", body, content[entry + 4 : entry + size], pasp))


def _cover(mp3: bytes, picture: bytes | None = None) -> bytes:
    """Content with an ID3v2 tag that contains a picture."""
    if picture is None:
        target = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(target, "PNG")
        picture = target.getvalue()
    frame = b"\0image/png\0\3\0" + picture
    tag = b"APIC" + struct.pack(">IH", len(frame), 0) + frame
    size = len(tag)
    synchsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + synchsafe + tag + mp3


def _huge_png() -> bytes:
    """PNG of 30,000 x 30,000 pixels in a few kilobytes."""
    side = 30_000
    rows = zlib.compress(bytes(side // 8 + 1) * side, 1)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


_CUTS = ("1", "8", "40", "5%", "33%", "66%", "97%", "-1")
_CUT = (
    "mp4-h264-aac", "mp4-faststart", "mp4-fragmented", "mp4-hevc", "mp4-av1", "mov-mjpeg", "mkv-h264-opus",
    "webm-vp8-opus", "ts-mpeg2-mp2", "wav", "mp3", "flac", "aac", "ogg-opus",
)  # fmt: skip


def truncated() -> Iterator[HostileSample]:
    """Interrupted downloads, at every stage."""
    for name in _CUT:
        for cut in _CUTS:
            yield HostileSample(f"{name}-{cut}", partial(_cut_off, name, cut))
    for name in ("mp4-faststart", "mkv-h264-opus", "ts-h264-aac"):
        yield HostileSample(f"{name}-a-hole", partial(_with_a_hole, name))
        yield HostileSample(f"{name}-without-its-beginning", partial(_without_its_beginning, name))


def _cut_off(name: str, cut: str) -> bytes:
    content = encoded(name)
    return content[: int(len(content) * int(cut[:-1]) / 100) if cut.endswith("%") else int(cut)]


def _with_a_hole(name: str) -> bytes:
    third = len(encoded(name)) // 3
    return _zeroed(encoded(name), third, third)


def _without_its_beginning(name: str) -> bytes:
    return encoded(name)[len(encoded(name)) // 4 :]


def _zeroed(content: bytes, start: int, length: int) -> bytes:
    return patched(content, start, bytes(length))


_SIZES = {"0": 0, "1": 1, "7": 7, "9": 9, "most": 2**32 - 1, "negative": 2**31}


def sizes() -> Iterator[HostileSample]:
    """MP4 files with a wrong size of each box."""
    for name in ("mp4-faststart", "mp4-fragmented"):
        content = encoded(name)
        seen: set[bytes] = set()
        for each_box in boxes(content):
            if each_box.kind in seen:
                continue
            seen.add(each_box.kind)
            wrong = list(_SIZES.items())[len(seen) % 2 :: 2]  # each box three of them
            for label, size in wrong:
                yield HostileSample(
                    f"{name}-{each_box.kind.decode()}-{label}",
                    patched(content, each_box.start, struct.pack(">I", size)),
                )
    plain = encoded("mp4-faststart")
    mdat = found(plain, b"mdat")
    wide = struct.pack(">I4sQ", 1, b"mdat", 2**63 - 1)
    yield HostileSample("64-bit", plain[: mdat.start] + wide + plain[mdat.start + 8 :])
    nested = b""
    for _ in range(20_000):
        nested = struct.pack(">I4s", len(nested) + 8, b"moov") + nested if len(nested) < 160_000 else nested
    yield HostileSample("nested-20000-deep", plain[: found(plain, b"moov").start] + nested, UNREADABLE, UNREADABLE)
    trak = found(plain, b"trak")
    track = plain[trak.start : trak.start + trak.size]
    moov = found(plain, b"moov")
    body = plain[moov.start + 8 : moov.start + moov.size] + track * 5000
    yield HostileSample("5000-tracks", replaced(plain, moov, box(b"moov", body)), REFUSED, REFUSED)


def _table(content: bytes, kind: bytes, *words: int, track: int = 0) -> bytes:
    """Content with another table: version and flags, then these words."""
    return replaced(content, found(content, kind, track), box(kind, bytes(4), struct.pack(f">{len(words)}I", *words)))


def headers() -> Iterator[HostileSample]:
    """MP4 headers with wrong dimensions, durations, counts and offsets."""
    plain = encoded("mp4-h264-aac")  # header after the frames, so that frame offsets stay valid
    most = 2**32 - 1
    entry = plain.index(b"avc1", plain.index(b"stsd") + 4) + 4
    for wide, high in ((65535, 65535), (0, 0), (1, 65535), (16384, 8704)):
        yield HostileSample(f"says-{wide}x{high}", patched(plain, entry + 24, struct.pack(">HH", wide, high)))
    tkhd = found(plain, b"tkhd")
    yield HostileSample("track-header-65535", patched(plain, tkhd.start + 84, struct.pack(">II", most, most)))
    for kind, offset in ((b"mvhd", 20), (b"mdhd", 20)):
        at = found(plain, kind).start + offset
        name = kind.decode()
        for scale in (0, 1, most):
            yield HostileSample(f"{name}-timescale-{scale}", patched(plain, at, struct.pack(">I", scale)))
        yield HostileSample(f"{name}-endless", patched(plain, at + 4, struct.pack(">I", most)))
    for track, name in enumerate(("video", "sound")):
        counts: dict[str, tuple[bytes, *tuple[int, ...]]] = {
            "stts": (b"stts", 1, most, 1),
            "stts-zero": (b"stts", 1, FRAMES, 0),
            "stts-far": (b"stts", 1, FRAMES, most),
        }
        counts |= {"stts-lies": (b"stts", most, 1, 1), "stsz": (b"stsz", 1, most), "stsz-lies": (b"stsz", 0, most)}
        counts |= {"stsc": (b"stsc", 1, 1, most, 1), "stsc-zero": (b"stsc", 1, 0, 0, 0), "stsc-lies": (b"stsc", most)}
        counts |= {"stco-beyond": (b"stco", 1, most), "stco-header": (b"stco", 1, 0), "stco-lies": (b"stco", most, 1)}
        counts |= {"ctts": (b"stts", 2, 18, 1, 18, 2**31), "stsz-none": (b"stsz", 0, 0)}
        for label, (kind, *words) in counts.items():
            yield HostileSample(f"{name}-{label}", _table(plain, kind, *words, track=track))
    edits: dict[str, tuple[int, ...]] = {
        "far": (1, 3000, 2**30, 1 << 16),
        "none": (0,),
        "empty": (1, 3000, most, 1 << 16),
        "lies": (most, 1, 1),
    }
    edits |= {"slow": (1, 3000, 0, 1), "thousand": (1000, *(3000, 0, 1 << 16) * 1000)}
    for label, edit in edits.items():
        yield HostileSample(f"edit-list-{label}", _table(plain, b"elst", *edit))
    for kind in (b"stsd", b"stts", b"stsz", b"stco", b"hdlr", b"mdhd", b"moov", b"mdat", b"ftyp"):
        yield HostileSample(f"without-{kind.decode()}", patched(plain, found(plain, kind).start + 4, b"free"))
    avcc = plain.index(b"avcC")
    yield HostileSample("parameter-sets-zeroed", _zeroed(plain, avcc + 8, 20), REFUSED, FINE)
    yield HostileSample("parameter-sets-noise", patched(plain, avcc + 12, random.Random(3).randbytes(20)), ANY, FINE)
    yield HostileSample("codec-is-another", patched(plain, entry - 4, b"hvc1"), REFUSED, FINE)
    yield HostileSample("codec-is-unknown", patched(plain, entry - 4, b"zzzz"), REFUSED, FINE)
    yield HostileSample("encrypted", patched(plain, entry - 4, b"encv"), REFUSED, ANY)


_EBML = ebml(b"\x1a\x45\xdf\xa3", ebml(b"\x42\x82", b"matroska"), number(b"\x42\x87", 4, 1), number(b"\x42\x85", 2, 1))
_SEGMENT, _INFO, _TRACKS, _ENTRY, _CLUSTER = b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\xae", b"\x1f\x43\xb6\x75"  # fmt: skip
_BLOCK, _SCALE, _DURATION = b"\xa3", b"\x2a\xd7\xb1", b"\x44\x89"


def _mkv(
    packets: list[bytes],
    *,
    codec: bytes = b"V_VP8",
    size: tuple[int, int] = (160, 90),
    scale: int = 1_000_000,
    duration: float = 3000.0,
    more: bytes = b"",
    step: int = 83,
) -> bytes:
    """Matroska file of one video track."""
    picture = ebml(b"\xe0", number(b"\xb0", size[0]), number(b"\xba", size[1]))
    entry = number(b"\xd7", 1, 1) + number(b"\x73\xc5", 1, 1) + number(b"\x83", 1, 1) + ebml(b"\x86", codec) + picture
    info = ebml(_INFO, number(_SCALE, scale), ebml(_DURATION, struct.pack(">d", duration)))
    clusters = (
        ebml(_CLUSTER, number(b"\xe7", index * step), ebml(_BLOCK, b"\x81\0\0\x80", packet))
        for index, packet in enumerate(packets)
    )
    return _EBML + ebml(_SEGMENT, info, ebml(_TRACKS, ebml(_ENTRY, entry, more)), *clusters)


def _compressed(algorithm: int, settings: bytes = b"") -> bytes:
    """ContentEncodings of a track."""
    method = number(b"\x42\x54", algorithm, 1) + (ebml(b"\x42\x55", settings) if settings else b"")
    return ebml(b"\x6d\x80", ebml(b"\x62\x40", number(b"\x50\x33", 0, 1), ebml(b"\x50\x34", method)))


def _vp8_key(wide: int, high: int) -> bytes:
    """Beginning of a VP8 keyframe of these dimensions, followed by zeroes."""
    return b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", wide, high) + bytes(60)


def matroska() -> Iterator[HostileSample]:
    """Matroska files with wrong elements, and with compressed packets."""
    keys = [_vp8_key(160, 90)] * 36
    yield HostileSample("by-hand", _mkv(keys), ANY, NO_AUDIO)
    for scale in (0, 1, 2**63 - 1):
        yield HostileSample(f"scale-{scale}", _mkv(keys, scale=scale), ANY, REFUSED)
    for duration in ("nan", "inf", "-inf", "-1", "1e300", "0"):
        yield HostileSample(f"duration-{duration}", _mkv(keys, duration=float(duration)), ANY, REFUSED)
    for wide, high in ((0, 0), (2**31 - 1, 2**31 - 1), (2**63, 1), (16383, 16383), (65536, 65536)):
        yield HostileSample(f"says-{wide}x{high}", _mkv(keys, size=(wide, high)), ANY, REFUSED)
    yield HostileSample("pictures-of-16383", _mkv([_vp8_key(16383, 16383)] * 36), REFUSED, REFUSED)
    yield HostileSample("sizes-change", _mkv([_vp8_key(16 * n, 2000 - 16 * n) for n in range(1, 100)]), ANY, REFUSED)
    packed = [zlib.compress(key) for key in keys]
    yield HostileSample("zlib", _mkv(packed, more=_compressed(0)), ANY, REFUSED)
    yield HostileSample("zlib-bomb", _mkv_of_zeroes, REFUSED, REFUSED)
    yield HostileSample("stripped-header-of-a-megabyte", _mkv(keys, more=_compressed(3, bytes(1 << 20))), ANY, REFUSED)
    yield HostileSample("bz2-that-is-none", _mkv(keys, more=_compressed(1)), REFUSED, REFUSED)
    yield HostileSample("lzo-that-is-none", _mkv(keys, more=_compressed(2)), REFUSED, REFUSED)
    yield HostileSample("no-packet", _mkv([]), REFUSED, REFUSED)
    yield HostileSample("empty-packets", _mkv([b""] * 1000), REFUSED, REFUSED)
    yield HostileSample("two-thousand-broken", _mkv([b"\xff" * 40] * 2000), REFUSED, REFUSED)
    for codec in (b"V_UNCOMPRESSED", b"V_MS/VFW/FOURCC", b"V_QUICKTIME", b"V_PRORES", b"V_THEORA", b"V_MPEGH/ISO/HEVC", b"V_AV1", b"S_TEXT/UTF8", b"", b"A" * 5000):  # fmt: skip
        yield HostileSample(
            f"codec-{codec[:20].decode().replace('/', '-') or 'none'}", _mkv(keys, codec=codec), ANY, REFUSED
        )
    deep = b""
    for _ in range(3000):
        deep = ebml(_SEGMENT, deep)
    yield HostileSample("nested-3000-deep", _EBML + deep, REFUSED, REFUSED)
    content = encoded("mkv-h264-opus")
    at = content.index(_SEGMENT)
    for label, length in {
        "unknown": b"\x01" + b"\xff" * 7,
        "most": b"\x01" + b"\xff" * 6 + b"\xfe",
        "0": b"\x80",
    }.items():
        yield HostileSample(f"segment-{label}", content[: at + 4] + length + content[at + 12 :])
    tracks = content.index(_TRACKS)
    for label, first in {"unknown": 0xFF, "0": 0x80, "1": 0x81}.items():
        yield HostileSample(f"tracks-{label}", patched(content, tracks + 4, bytes([first])))
    yield HostileSample("an-attachment", _with_attachment(content, b"readme.html", b"<html>" * 1000), FINE, FINE)
    bomb = partial(_huge_png_attached, content)
    yield HostileSample("an-attached-bomb", bomb, ANY, ANY)
    yield HostileSample("an-attached-path", _with_attachment(content, b"../../../etc/cron.d/x", b"canary"), FINE, FINE)


def _mkv_of_zeroes() -> bytes:
    """Packets of 200 MiB each when decompressed."""
    return _mkv([zlib.compress(bytes(200 << 20), 1)] * 3, more=_compressed(0))


def _huge_png_attached(content: bytes) -> bytes:
    return _with_attachment(content, b"cover.png", _huge_png(), b"image/png")


def _with_attachment(content: bytes, name: bytes, body: bytes, kind: bytes = b"text/html") -> bytes:
    """Content with an attached file; the segment's length becomes unknown."""
    file = ebml(
        b"\x61\xa7", ebml(b"\x46\x6e", name), ebml(b"\x46\x60", kind), number(b"\x46\xae", 7), ebml(b"\x46\x5c", body)
    )
    attachments = ebml(b"\x19\x41\xa4\x69", file)
    start = content.index(_SEGMENT)
    content = patched(content, start + 4, b"\x01" + b"\xff" * 7)
    cluster = content.index(_CLUSTER)
    return content[:cluster] + attachments + content[cluster:]


def waves() -> Iterator[HostileSample]:
    """Audio files with wrong headers."""
    tone = bytes(range(256)) * 200
    usual = {"code": 1, "channels": 1, "rate": 16000, "bytes": 32000, "align": 2, "bits": 16}
    lies = [{"channels": 0}, {"channels": 65535}, {"channels": 255, "align": 510}, {"rate": 0}, {"rate": 2**32 - 1}]
    lies += [{"rate": 1}, {"align": 0}, {"align": 65535}, {"bits": 0}, {"bits": 65535}, {"bits": 24}, {"code": 0}]
    lies += [{"code": 65535}, {"code": 0x161}, {"code": 0x55}, {"code": 3, "bits": 64}, {"bytes": 0}]
    for lie in lies:
        values = {**usual, **lie}
        header = struct.pack("<HHIIHH", *values.values())
        body = b"WAVE" + chunk(b"fmt ", header) + chunk(b"data", tone)
        label = "-".join(f"{name}-{value}" for name, value in lie.items())
        yield HostileSample(f"wav-{label}", chunk(b"RIFF", body), REFUSED, ANY)
    header = chunk(b"fmt ", struct.pack("<HHIIHH", *usual.values()))
    for label, size in {"0": 0, "most": 2**32 - 1, "odd": 12345}.items():
        yield HostileSample(
            f"wav-data-{label}", chunk(b"RIFF", b"WAVE" + header + chunk(b"data", tone, size)), REFUSED, ANY
        )
        yield HostileSample(
            f"wav-riff-{label}", chunk(b"RIFF", b"WAVE" + header + chunk(b"data", tone), size), REFUSED, ANY
        )
    silent = chunk(b"RIFF", b"WAVE" + header + chunk(b"data", bytes(96000)))
    yield HostileSample("wav-silence", silent, REFUSED, ANY)
    many = b"".join(chunk(b"LIST", b"INFOINAM" + struct.pack("<I", 4) + b"name") for _ in range(20_000))
    yield HostileSample("wav-20000-tags", chunk(b"RIFF", b"WAVE" + header + many + chunk(b"data", tone)), REFUSED, FINE)
    flac = encoded("flac")
    for label, at, new in (("rate-0", 18, b"\0\0\x0f"), ("samples", 21, b"\xff" * 5), ("blocks", 8, b"\0\0\0\0"), ("frame", 12, b"\xff" * 6)):  # fmt: skip
        yield HostileSample(f"flac-{label}", patched(flac, at, new), REFUSED, ANY)
    ogg = encoded("ogg-opus")
    for label, at, new in (("position", 6, b"\xff" * 8), ("serial", 14, b"\xff" * 4), ("segments", 26, b"\xff"), ("channels", 37, b"\xff"), ("skip", 38, b"\xff\xff"), ("gain", 44, b"\xff\x7f")):  # fmt: skip
        yield HostileSample(f"ogg-{label}", patched(ogg, at, new), REFUSED, ANY)
    yield HostileSample("ogg-headers-only", ogg[:150], REFUSED, REFUSED)
    yield HostileSample("mp3-one-frame-4000-times", encoded("mp3")[1000:1400] * 4000, REFUSED, ANY)
    yield HostileSample("aac-header-repeated", encoded("aac")[:7] * 20_000, REFUSED, ANY)


def bombs() -> Iterator[HostileSample]:
    """Small files that cost much memory, time or frames."""
    plain = encoded("mp4-h264-aac")
    moov = found(plain, b"moov")
    header = plain[moov.start : moov.start + moov.size]
    packed = zlib.compress(header)
    cmov = box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", struct.pack(">I", len(header)), packed))
    yield HostileSample("packed-header", replaced(plain, moov, box(b"moov", cmov)), ANY, ANY)
    yield HostileSample("packed-header-of-400-MB", _mp4_of_zeroes, REFUSED, REFUSED)
    for count in (100_000, 20_000_000):  # samples that all lie in the same place: frames for nothing
        first = found(plain, b"stsz").start + 20
        size = int.from_bytes(plain[first : first + 4], "big")
        one = _table(plain, b"stsz", size, count)
        one = _table(one, b"stts", 1, count, 1)
        yield HostileSample(f"{count}-frames-in-one-place", _table(one, b"stsc", 1, 1, count, 1), REFUSED, ANY)
    key = _vp8_key(1920, 1080)
    yield HostileSample("5000-keyframes-of-1080p", _mkv([key] * 5200, step=1), ANY, REFUSED)
    yield HostileSample("12-hours-of-one-frame", _mkv([key] * 100, step=440_000), REFUSED, REFUSED)
    yield HostileSample("frames-at-one-time", _mkv([_vp8_key(160, 90)] * 6000, step=0), ANY, REFUSED)
    jpeg = io.BytesIO()
    Image.new("L", (8000, 8000)).save(jpeg, "JPEG", quality=1)
    huge = jpeg.getvalue()
    huge = patched(huge, huge.index(b"\xff\xc0") + 5, struct.pack(">HH", 65500, 65500))
    yield HostileSample("mjpeg-of-65500", _mkv([huge] * 5, codec=b"V_MJPEG"), REFUSED, REFUSED)
    yield HostileSample("mjpeg-of-8000", _mkv([jpeg.getvalue()] * 5, codec=b"V_MJPEG"), REFUSED, REFUSED)
    ts = encoded("ts-mpeg2-mp2")
    yield HostileSample("ts-one-packet-100000-times", ts[:188] * 100_000, REFUSED, REFUSED)
    yield HostileSample("ts-8000-programs", _programs(), REFUSED, REFUSED)
    fragmented = encoded("mp4-fragmented")
    moof = found(fragmented, b"moof")
    end = found(fragmented, b"mdat").start + found(fragmented, b"mdat").size
    fragment = fragmented[moof.start : end]
    yield HostileSample("one-fragment-2000-times", fragmented[: moof.start] + fragment[:3000] * 2000, ANY, ANY)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:  # an entry of no day: the same on every one
        archive.writestr(zipfile.ZipInfo("video.mp4"), bytes(50 << 20), zipfile.ZIP_DEFLATED)
    yield HostileSample("zip", target.getvalue(), UNREADABLE, UNREADABLE)
    yield HostileSample("gzip", gzip.compress(bytes(50 << 20), 1, mtime=0), UNREADABLE, UNREADABLE)
    yield HostileSample("gzip-of-a-video", gzip.compress(plain, mtime=0), UNREADABLE, UNREADABLE)


def _mp4_of_zeroes() -> bytes:
    """Header of 400 MiB when decompressed."""
    plain = encoded("mp4-h264-aac")
    bomb = zlib.compress(bytes(400 << 20), 1)
    cmov = box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", struct.pack(">I", 400 << 20), bomb))
    return replaced(plain, found(plain, b"moov"), box(b"moov", cmov))


def _programs() -> bytes:
    """Transport stream with a large number of programs."""
    packets = []
    for start in range(0, 8000, 40):
        entries = b"".join(struct.pack(">HH", start + n + 1, 0xE000 | (0x20 + (start + n) % 8000)) for n in range(40))
        section = struct.pack(">HBBB", 1, 0xC1 | (start // 40 % 32) << 1, 0, 0) + entries
        body = b"\0\0" + struct.pack(">H", 0xB000 | (len(section) + 4)) + section + bytes(4)
        packets.append((b"\x47\x40\0\x10" + body).ljust(188, b"\xff"))
    return b"".join(packets) * 10


def nothing() -> Iterator[HostileSample]:
    """Files that are no recordings."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "blue").save(picture, "JPEG")
    webp = io.BytesIO()
    Image.new("RGB", (64, 64), "blue").save(webp, "WEBP")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("video.mp4"))
    random_ = random.Random(4)
    contents = {
        "empty": b"", "one-byte": b"\0", "zeroes": bytes(100_000), "ones": b"\xff" * 100_000, "spaces": b" " * 10_000,
        "noise": random_.randbytes(200_000), "text": b"Dear Sir,\n" * 100, "utf-16": "Dear Sir".encode("utf-16") * 99,
        "html": b"<!DOCTYPE html><html><title>Log in</title>" * 9, "json": b'{"error": "not found"}',
        "xml-error": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "pdf": b"%PDF-1.7\n" + bytes(999),
        "elf": b"\x7fELF" + bytes(999), "exe": b"MZ" + bytes(999), "script": b"#!/bin/sh\nrm -rf /\n", "tar": tar.getvalue(),
        "png": _huge_png(), "jpeg": picture.getvalue(), "webp": webp.getvalue(), "svg": b"<svg xmlns='x'><image href='file:///etc/passwd'/></svg>",
        "srt": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n" * 50, "ass": b"[Script Info]\nScriptType: v4.00+\n[Events]\n",
        "vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n", "ftyp-alone": box(b"ftyp", b"isom\0\0\0\0isom"),
        "heic": box(b"ftyp", b"heic\0\0\0\0mif1heic") + bytes(500), "midi": b"MThd\0\0\0\6\0\1\0\1\0\x60" + bytes(99),
        "mod": bytes(1080) + b"M.K." + bytes(2000), "dv": b"\x1f\x07\0" + bytes(120_000), "y4m": b"YUV4MPEG2 W160 H90 F12:1\nFRAME\n" + bytes(21600),
        "h264-raw": b"\0\0\0\1\x67\x42\0\x0a" + bytes(999), "matroska-alone": _EBML, "id3-alone": b"ID3\3\0\0\0\0\0\0",
        "riff-alone": b"RIFF\0\0\0\0WAVE", "ogg-alone": b"OggS" + bytes(24), "flac-alone": b"fLaC" + bytes(40),
    }  # fmt: skip
    for name, content in contents.items():
        yield HostileSample(name, content, REFUSED, REFUSED)


def fuzzed() -> Iterator[HostileSample]:
    """Recordings with bytes changed, moved and duplicated, by fixed seeds."""
    for name in BASES:
        for seed in range(6):
            yield HostileSample(f"{name}-{seed}", partial(_fuzz, name, seed))


def _fuzz(name: str, seed: int) -> bytes:
    by = random.Random(f"{name}-{seed}")
    changed = bytearray(encoded(name))
    whole = by.random() < 0.5  # whole file, or only the first kilobytes with the headers
    for _ in range(by.choice((1, 5, 30, 300))):
        at = by.randrange(len(changed) if whole else min(4000, len(changed)))
        match by.randrange(5):
            case 0:
                changed[at] ^= 1 << by.randrange(8)
            case 1:
                changed[at : at + 4] = by.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", by.randbytes(4))
                )
            case 2:
                del changed[at : at + by.randrange(1, 50)]
            case 3:
                changed[at:at] = changed[at : at + by.randrange(1, 200)]
            case _:
                other = by.randrange(len(changed))
                changed[at : at + 64] = changed[other : other + 64]
    return bytes(changed)


def playlists(canary: Canary) -> Iterator[HostileSample]:
    """Files that refer to other files in every way that FFmpeg supports; none may be followed."""
    refused = {"lora": REFUSED, "sound": REFUSED}
    for label, target in {"file": f"file://{canary.path}", "path": str(canary.path), "http": canary.url}.items():
        lines = f"#EXTINF:3,\n{target}\n"
        hls = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:0\n{lines}#EXT-X-ENDLIST\n".encode()
        yield HostileSample(f"hls-{label}", hls, **refused)
        yield HostileSample(f"hls-bom-{label}", b"\xef\xbb\xbf" + hls, **refused)
        key = f'#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n{lines}#EXT-X-ENDLIST\n'
        yield HostileSample(f"hls-key-{label}", key.encode(), **refused)
        yield HostileSample(
            f"hls-map-{label}", hls.replace(b"#EXTINF", f'#EXT-X-MAP:URI="{target}"\n#EXTINF'.encode(), 1), **refused
        )
        master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n".encode()
        yield HostileSample(f"hls-master-{label}", master, **refused)
        yield HostileSample(f"hls-in-avi-{label}", _avi_with(hls), **refused)
        yield HostileSample(f"hls-after-ftyp-{label}", box(b"ftyp", b"isom\0\0\0\0isom") + hls, **refused)
        yield HostileSample(f"hls-after-ts-{label}", encoded("ts-h264-aac")[:188] + hls, **refused)
        yield HostileSample(f"hls-in-id3-{label}", _cover(hls, b""), **refused)
        yield HostileSample(
            f"concat-{label}", f"ffconcat version 1.0\nfile '{target}'\nduration 3\n".encode(), **refused
        )
        yield HostileSample(f"pls-{label}", f"[playlist]\nFile1={target}\nNumberOfEntries=1\n".encode(), **refused)
        dash = f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>'
        yield HostileSample(f"dash-{label}", dash.encode(), **refused)
        yield HostileSample(
            f"asx-{label}", f'<asx version="3"><entry><ref href="{target}"/></entry></asx>'.encode(), **refused
        )
        smil = f'<smil><body><video src="{target}"/></body></smil>'
        yield HostileSample(f"smil-{label}", smil.encode(), **refused)
        yield HostileSample(
            f"xspf-{label}",
            f"<?xml version='1.0'?><playlist><trackList><track><location>{target}</location></track></trackList></playlist>".encode(),
            **refused,
        )
        yield HostileSample(f"mov-reference-{label}", _referring(target.encode()), **refused)
        yield HostileSample(f"mov-alias-{label}", _elsewhere(target))
    sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {canary.url.split(':')[2].split('/')[0]} RTP/AVP 96\n"
    yield HostileSample("sdp", sdp.encode(), **refused)
    yield HostileSample(
        "vobsub",
        f"# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 0\n# {canary.path}\n".encode(),
        **refused,
    )
    nested = f"#EXTM3U\n#EXTINF:3,\nconcat:file://{canary.path}|{canary.url}\n#EXTINF:3,\nsubfile,,start,0,end,99,,:{canary.path}\n"
    yield HostileSample("hls-of-protocols", nested.encode(), **refused)
    yield HostileSample("ffmetadata", f";FFMETADATA1\ntitle={canary.path}\n".encode(), **refused)


def _avi_with(playlist: bytes) -> bytes:
    """AVI with a playlist as its subtitle track (GAB2), which FFmpeg once followed (CVE-2016-1897)."""
    text = b"GAB2\0" + struct.pack("<HI", 2, 0) + struct.pack("<HI", 4, len(playlist)) + playlist
    header = struct.pack("<14I", 41666, 0, 0, 0x910, 1, 0, 1, len(text), 160, 90, 0, 0, 0, 0)
    stream = b"txts" + bytes(16) + struct.pack("<8I", 1, 12, 0, 1, 0, 0, 0, 0) + bytes(8)
    tracks = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", bytes(40)))
    listed = chunk(b"LIST", b"hdrl" + chunk(b"avih", header) + tracks)
    return chunk(b"RIFF", b"AVI " + listed + chunk(b"LIST", b"movi" + chunk(b"00tx", text)))


def _referring(target: bytes) -> bytes:
    """QuickTime reference movie."""
    data = box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(target) + 1), target + b"\0")
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"rmra", box(b"rmda", data)))


def _elsewhere(target: str) -> bytes:
    """Recording with its video in another file, by URL and by alias."""
    content = encoded("mp4-h264-aac")
    url = box(b"url ", bytes(4), target.encode() + b"\0")
    name = Path(target).name.encode()
    records = struct.pack(">hh", 2, len(target)) + target.encode() + bytes(len(target) % 2)
    names = bytes([len(name)]) + name.ljust(63, b"\0")
    alias = (
        bytes(6)
        + struct.pack(">HH", 150, 2)
        + bytes(2)
        + bytes(28)
        + bytes(12)
        + names
        + bytes(16)
        + struct.pack(">hh", 1, 1)
    )
    alis = box(b"alis", bytes(4), alias, bytes(16), records, struct.pack(">hh", -1, 0))
    dref = box(b"dref", bytes(4), struct.pack(">I", 2), alis, url)
    content = replaced(content, found(content, b"dref"), dref)
    entry = content.index(b"avc1", content.index(b"stsd") + 4)
    return patched(content, entry + 10, struct.pack(">H", 1))


_GROUPS = {
    each.__name__: each for each in (intact, odd, truncated, sizes, headers, matroska, waves, bombs, nothing, fuzzed)
}
GROUPS = (*_GROUPS, "playlists")
