"""Family: lengths that are stated, estimated or wrong, and clocks that jump, begin late or drift."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from contentgen_recordings.case import RecordingCase
from contentgen_recordings.sounds import RATE, Piece, beeps, joined, noise, record, tone

_QUIET_START = np.r_[0 * tone(500, 3), noise(9)]
_JUMPS = "its clock jumps {}: after that, times may not match the recording"
_FILLED = "{} s without sound in it are kept as silence, so that times match the recording"


def sound_lengths() -> list[RecordingCase]:
    """Lengths and times."""
    return [*_estimated(), *_stated(), *_headers(), *_clocks()]


def _case(name: str, make: Callable[[Path], Path], **numbers: Any) -> RecordingCase:
    return RecordingCase(name, "sound lengths", make, **numbers)


def _joined_mp3(folder: Path) -> Path:
    bare = {"write_xing": "0", "id3v2_version": "0"}
    parts = [
        record(folder / f"{rate}.mp3", [sound], codec="libmp3lame", layout="mono", bit_rate=rate, options=bare)
        for sound, rate in ((noise(2), 32_000), (noise(10), 320_000))
    ]
    return joined(folder / "a.mp3", parts)


def _joined_ts(folder: Path) -> Path:
    parts = [
        record(folder / f"{start}.ts", [tone(500, 6)], codec="aac", layout="mono", options={"output_ts_offset": start})
        for start in ("1000", "0")
    ]
    return joined(folder / "a.ts", parts)


def _quiet(name: str, codec: str, **options: str) -> Callable[[Path], Path]:
    return lambda folder: record(folder / name, [_QUIET_START], codec=codec, layout="mono", options=options)


def _estimated() -> list[RecordingCase]:
    table = {
        "MP3 of two bit rates without a header": (_joined_mp3, ()),
        "two joined MPEG-TS": (_joined_ts, (_JUMPS.format("once"),)),
        "ADTS that begins quietly": (_quiet("a.aac", "aac"), ()),
        "fragmented MP4": (
            _quiet("a.mp4", "aac", movflags="frag_keyframe+empty_moov+default_base_moof", frag_duration="1000000"),
            (),
        ),
        "live Matroska": (_quiet("live.mkv", "pcm_s16le", live="1"), ()),
        "live WebM": (_quiet("live.webm", "libopus", live="1"), ()),
        "Ogg": (_quiet("a.ogg", "libopus"), ()),
        "FLAC without a length": (_flac_without_a_length, ()),
    }
    found = []
    for name, (make, notes) in table.items():
        found += [
            _case(f"length not stated: {name}", make, limit=13, seconds=12, notes=notes),
            _case(f"length not stated, longer than the limit: {name}", make, limit=11, refused="the limit is 11 s"),
        ]
    return found


def _flac_without_a_length(folder: Path) -> Path:
    """As streamed encoders leave it: the number of samples in STREAMINFO is 0."""
    path = _quiet("a.flac", "flac")(folder)
    content = bytearray(path.read_bytes())
    at = content.index(b"fLaC") + 8 + 13
    content[at] &= 0xF0
    content[at + 1 : at + 5] = bytes(4)
    path.write_bytes(content)
    return path


def _stated() -> list[RecordingCase]:
    table = {
        "MKV": "pcm_s16le", "MP4": "aac", "MP3": "libmp3lame", "FLAC": "flac", "WAV": "pcm_s16le", "AIFF": "pcm_s16be",
        "CAF": "pcm_s16be", "W64": "pcm_s16le", "AU": "pcm_s16be",
    }  # fmt: skip

    def long(suffix: str, codec: str) -> Callable[[Path], Path]:
        return lambda folder: record(folder / f"a.{suffix.lower()}", [noise(12)], codec=codec, layout="mono")

    def cut(suffix: str, codec: str) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            path = record(folder / f"a.{suffix}", [noise(20)], codec=codec, layout="mono")
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            return path

        return make

    return [
        *(
            _case(f"stated length above the limit: {suffix}", long(suffix, codec), limit=11,
                  refused="SourceTooLarge: it lasts 12 s, the limit is 11 s")
            for suffix, codec in table.items()
        ),
        _case("cut off: MP3", cut("mp3", "libmp3lame"), notes=("the sound ends at 10 s of 20 s",)),
        _case("cut off: FLAC", cut("flac", "flac"), notes=("1 damaged packet of its sound is left out", "the sound ends at 10 s of 20 s",)),
        _case("cut off: WAV", cut("wav", "pcm_s16le"), seconds=10),
        _case("cut off: MP4 with its index at the end", cut("m4a", "aac"), refused="its index (moov) is missing: the recording was not finished, or the file is cut off; provide the whole file"),
        _case(
            "sound that ends before the pictures",
            lambda folder: record(folder / "a.mkv", [beeps([1], 4)], layout="mono", pictures=20),
            seconds=4, begins=(1,), notes=("the sound ends at 4 s of 20 s",),
        ),
    ]  # fmt: skip


# --- headers with a wrong length -----------------------------------------------------------------------------------

_TOO_SMALL = "the length in its header is too small: {} s of sound after it are taken too"
_BEEPS = np.r_[tone(500), 0 * tone(500), tone(500), 0 * tone(500)]  # 8 s
_CHUNKS = b"LIST" + struct.pack("<I", 4000) + bytes(4000) + b"id3 " + struct.pack("<I", 5) + b"ID3\x03\x00"
_SECOND = RATE * 2  # bytes


@dataclass(frozen=True)
class StatedSize:
    """Position of the length of a file's sound: the chunk, the offset in it, and the struct of the length."""

    name: str
    chunk: bytes
    size: str
    offset: int = 4
    codec: str = "pcm_s16be"
    options: tuple[tuple[str, str], ...] = ()

    def patched(self, value: int, tail: bytes) -> Callable[[Path], Path]:
        """Recording of beeps whose header states `value`, and that ends with `tail`."""

        def make(folder: Path) -> Path:
            path = folder / f"a.{self.name.lower() if self.name != 'RF64' else 'wav'}"
            record(path, [_BEEPS], codec=self.codec, layout="mono", options=dict(self.options))
            content = bytearray(path.read_bytes())
            struct.pack_into(self.size, content, content.index(self.chunk) + self.offset, value)
            path.write_bytes(content + tail)
            return path

        return make


def _headers() -> list[RecordingCase]:
    wav, aiff = StatedSize("WAV", b"data", "<I", codec="pcm_s16le"), StatedSize("AIFF", b"SSND", ">I")
    caf = StatedSize("CAF", b"data", ">q")
    rf64 = replace(wav, name="RF64", chunk=b"ds64", size="<Q", offset=16, options=(("rf64", "always"),))
    table = [
        ("too small", wav, 2 * _SECOND, b"", 6),
        ("too small and odd", wav, 2 * _SECOND + 1, b"", 6),
        ("too small before chunks", wav, 100, _CHUNKS, 8),
        ("right before chunks", wav, 8 * _SECOND, _CHUNKS, 0),
        ("right before chunks and a byte", wav, 8 * _SECOND, _CHUNKS + b"\0", 0),
        ("right before an ID3 tag", wav, 8 * _SECOND, b"TAG" + bytes(125), 0),
        ("zero", wav, 0, b"", 0),
        ("unknown", wav, 0xFFFFFFFF, b"", 0),
        ("too large", wav, 9 * _SECOND, b"", 0),
        ("too small", rf64, 2 * _SECOND, b"", 6),
        ("right before chunks", rf64, 8 * _SECOND, _CHUNKS, 0),
        ("too small", aiff, 2 * _SECOND + 8, b"", 6),
        ("right before a chunk", aiff, 8 * _SECOND + 8, b"ANNO" + struct.pack(">I", 600) + bytes(600), 0),
        ("too small", caf, 2 * _SECOND + 4, b"", 6),
        ("right before a chunk", caf, 8 * _SECOND + 4, b"free" + struct.pack(">q", 601) + bytes(601), 0),
        ("unknown", caf, -1, b"", 0),
    ]
    return [
        _case(
            f"length in the header of {header.name}: {what}",
            header.patched(stated, tail),
            seconds=8,
            begins=(0, 4),
            notes=(_TOO_SMALL.format(taken),) if taken else (),
            known="the chunks after the sound are taken for sound, too: 45 ms of noise at its end"
            if what == "too small before chunks"
            else "",
        )
        for what, header, stated, tail, taken in table
    ]


# --- clocks --------------------------------------------------------------------------------------------------------


def _clocks() -> list[RecordingCase]:
    def pieces(name: str, *given: tuple[float, Any], **more: Any) -> Callable[[Path], Path]:
        track = [Piece(start, [sound]) for start, sound in given]
        return lambda folder: record(folder / name, track, layout="mono", **more)

    def restarted(folder: Path) -> Path:
        one = record(folder / "one.ts", [beeps([1], 3)], codec="mp2", layout="mono")
        return joined(folder / "a.ts", [one] * 3)

    def ticks(count: int, every: float) -> list[tuple[float, Any]]:
        return [(every * number, beeps([0.5], 1)) for number in range(count)]

    drift = 1.005
    return [
        _case(
            "a gap in the clock", pieces("a.mkv", (0, beeps([1], 2)), (8, beeps([0.5, 1], 2)), pictures=10),
            seconds=10, begins=(1, 8.5, 9), notes=(_FILLED.format(6),),
        ),
        _case(
            "many gaps, as of a recorder that pauses in silence", pieces("a.mkv", *ticks(10, 3)), seconds=28,
            begins=tuple(3.0 * number + 0.5 for number in range(10)), notes=(_FILLED.format(18),),
        ),
        _case(
            "a clock that drifts by 0.5 %", pieces("a.mkv", *ticks(60, drift)), seconds=60.3,
            begins=tuple(round(0.5 + drift * number, 3) for number in range(60)), apart=0.11,
        ),
        *(
            _case(
                f"sound that begins after the pictures: {suffix.upper()}",
                pieces(f"a.{suffix}", (2.5, beeps([0.5], 2)), codec="pcm_s16le" if suffix == "mkv" else "aac", pictures=4),
                begins=(3,), notes=(_FILLED.format(2),),
            )
            for suffix in ("mkv", "mp4", "ts")
        ),
        _case("a clock that begins anew", restarted, begins=(1, 4, 7), notes=(_JUMPS.format("2 times"),)),
        _case("ADTS, which has no clock", pieces("a.aac", (0, beeps([1, 2], 3)), codec="aac"), begins=(1, 2)),
        _case(
            "a clock that begins at 27 h", pieces("a.mkv", (97200, beeps([1], 2)), (97205, beeps([0.5], 2))),
            begins=(1, 5.5), notes=(_FILLED.format(3),),
        ),
        _case(
            "a clock that wraps at 26.5 h: MPEG-TS",
            pieces("a.ts", (0, beeps([1, 3, 5], 6)), codec="aac", options={"output_ts_offset": "95440"}),
            begins=(1, 3, 5),
        ),
        _case("silence counts for the limit", pieces("a.mkv", (0, beeps([1], 2)), (30, beeps([1], 2))), limit=20,
              refused="the limit is 20 s"),
        _case("damaged packets: AC-3", _damaged, begins=(1, 3), notes=("20 damaged packets of its sound are left out",)),
    ]  # fmt: skip


def _damaged(folder: Path) -> Path:
    path = record(folder / "a.mkv", [beeps([1, 3], 4)], codec="ac3", layout="mono")
    content = bytearray(path.read_bytes())
    frames = [at for at in range(len(content)) if content[at : at + 2] == b"\x0b\x77"]
    for at in frames[len(frames) // 2 - 10 : len(frames) // 2 + 10]:
        content[at : at + 64] = bytes(64)
    path.write_bytes(content)
    return path
