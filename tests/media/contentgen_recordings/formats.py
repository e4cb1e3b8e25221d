"""Family: containers and codecs of sound."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contentgen_recordings.case import RecordingCase
from contentgen_recordings.sounds import RATE, beeps, joined, noise, record, tone

_CONVERT = "convert its sound, for example: ffmpeg -i FILE -c:v copy -c:a aac new.mp4"


def formats() -> list[RecordingCase]:
    """Files of cameras, phones, dictaphones and editors."""
    return [*_shapes(), *_of_phones(), *_odd(), *_refused()]


def _case(name: str, make: Callable[[Path], Path], **numbers: Any) -> RecordingCase:
    return RecordingCase(name, "sound formats", make, **numbers)


def _shapes() -> list[RecordingCase]:
    table = [
        ("wav", "pcm_u8", 1, 8000), ("wav", "pcm_s16le", 2, 44100), ("wav", "pcm_s24le", 2, 96000),
        ("wav", "pcm_s32le", 2, 192000), ("wav", "pcm_f32le", 2, 48000), ("wav", "pcm_mulaw", 1, 8000),
        ("wav", "pcm_s16le", 1, 12345), ("flac", "flac", 2, 48000), ("mp3", "libmp3lame", 2, 44100),
        ("mp3", "libmp3lame", 1, 22050), ("mp3", "libmp3lame", 1, 8000), ("wav", "libmp3lame", 2, 44100),
        ("mp4", "libmp3lame", 2, 44100), ("ogg", "libopus", 2, 24000), ("ogg", "libopus", 1, 8000),
        ("webm", "libopus", 2, 48000), ("mp4", "libopus", 2, 48000), ("ts", "libopus", 2, 48000),
        ("ogg", "vorbis", 2, 44100), ("mkv", "vorbis", 2, 22050), ("ogg", "flac", 2, 44100), ("mp4", "flac", 2, 48000),
        ("m4a", "alac", 2, 44100), ("mp4", "aac", 2, 48000), ("mov", "aac", 1, 11025), ("ts", "aac", 2, 48000),
        ("ts", "mp2", 2, 48000), ("mkv", "ac3", 2, 48000), ("mp4", "ac3", 2, 48000), ("mkv", "eac3", 2, 44100),
        ("mov", "pcm_s16le", 2, 48000), ("mkv", "pcm_f32le", 2, 48000),
    ]  # fmt: skip
    return [
        _case(
            f"{suffix.upper()}: {codec.removeprefix('lib').replace('mp3lame', 'mp3')} {rate / 1000:g} kHz",
            _beeping(suffix, codec, channels, rate),
            begins=(0.5, 1.5),
        )
        for suffix, codec, channels, rate in table
    ]


def _beeping(suffix: str, codec: str, channels: int, rate: int) -> Callable[[Path], Path]:
    return lambda folder: record(
        folder / f"a.{suffix}", [beeps([0.5, 1.5], 2.5, rate)] * channels, codec=codec,
        layout="stereo" if channels == 2 else "mono", rate=rate, encoding={"strict": "experimental"},
    )  # fmt: skip


def _of_phones() -> list[RecordingCase]:
    table = [
        *[(suffix, "libopencore_amrnb", 8000) for suffix in ("amr", "3gp", "mov")],
        *[("wav", codec, 16000) for codec in ("adpcm_ms", "adpcm_ima_wav", "adpcm_yamaha", "g722", "pcm_f64le")],
        ("wav", "g726", 8000),
        *[(suffix, "adpcm_ima_qt", 16000) for suffix in ("aiff", "caf", "mov")],
        *[
            (suffix, codec, 16000)
            for suffix in ("aiff", "caf")
            for codec in ("pcm_s8", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be", "pcm_mulaw", "pcm_alaw")
        ],
        ("caf", "alac", 16000),
        ("au", "pcm_mulaw", 8000),
        ("w64", "pcm_s24le", 48000),
    ]
    bit_rates = {"libopencore_amrnb": 12_200, "g726": 32_000}

    def made(suffix: str, codec: str, rate: int) -> Callable[[Path], Path]:
        return lambda folder: record(
            folder / f"a.{suffix}", [tone(500, 3, rate=rate)], codec=codec, layout="mono", rate=rate,
            bit_rate=bit_rates.get(codec, 0),
        )  # fmt: skip

    return [
        _case(
            f"{suffix.upper()}: {codec.removeprefix('libopencore_')} {rate / 1000:g} kHz",
            made(suffix, codec, rate),
            seconds=3,
            heard={500: 0.25},
            within=0.25,
        )
        for suffix, codec, rate in table
    ] + [_case("GSM", _gsm, seconds=2)]


def _gsm(folder: Path) -> Path:
    """FFmpeg has no encoder for it: frames of 33 bytes, whose first half byte is 13."""
    frames = np.random.default_rng(0).integers(0, 256, (100, 33), dtype=np.uint8)
    frames[:, 0] = 0xD0 | frames[:, 0] & 15
    (folder / "a.gsm").write_bytes(frames.tobytes())
    return folder / "a.gsm"


# --- tags, chunks, chains, levels ----------------------------------------------------------------------------------


def _odd() -> list[RecordingCase]:
    def written(name: str, **more: Any) -> Callable[[Path], Path]:
        return lambda folder: record(folder / name, [beeps([0.5, 1.5], 2.5)] * 2, layout="stereo", **more)

    def after(tag: bytes, make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        def made(folder: Path) -> Path:
            path = make(folder)
            path.write_bytes(tag + path.read_bytes())
            return path

        return made

    def chained(folder: Path) -> Path:
        parts = [
            record(folder / f"{number}.opus", [beeps([0.5], 1.5)], codec="libopus", layout="mono") for number in (1, 2)
        ]
        return joined(folder / "a.opus", parts)

    begins = (0.5, 1.5)
    loud = {500: 1.0}
    return [
        _case("an ID3 tag with a cover of 2 MB: MP3", after(_id3(2_000_000), written("a.mp3", codec="libmp3lame")), begins=begins),
        _case("an ID3 tag before it: FLAC", after(_id3(5_000), written("a.flac", codec="flac")), begins=begins),
        _case("an ID3 tag before it: ADTS", after(_id3(5_000), written("a.aac", codec="aac")), begins=begins),
        _case("noise before it: MP3", after(bytes(range(1, 200)) * 20, written("a.mp3", codec="libmp3lame")), begins=begins),
        _case("Broadcast Wave", written("a.wav", options={"write_bext": "1"}), begins=begins),
        _case("RF64", written("a.wav", options={"rf64": "always"}), begins=begins),
        _case("24 bits: FLAC", written("a.flac", codec="flac", encoding={"strict": "experimental"}), begins=begins),
        _case("Opus frames of 60 ms", written("a.opus", codec="libopus", encoding={"frame_duration": "60"}), begins=begins),
        _case("MP3 of variable bit rate", written("a.mp3", codec="libmp3lame", encoding={"q": "5"}), begins=begins),
        _case("chained Ogg", chained, begins=(0.5, 2.0),
              notes=("its clock jumps once: after that, times may not match the recording",)),
        _case("floats above full scale", lambda folder: record(
            folder / "a.wav", [tone(500, level=4)], codec="pcm_f32le", layout="mono"), heard=loud),
        _case("floats above full scale, stereo", lambda folder: record(
            folder / "a.wav", [tone(500, level=4)] * 2, codec="pcm_f32le", layout="stereo"), heard=loud),
        _case("floats that are no numbers", _not_numbers, begins=begins),
        _case("almost silent", lambda folder: record(folder / "a.wav", [beeps([1, 2], 4) * 0.004], layout="mono"), seconds=4,
              notes=("it is almost silent (-57 dBFS where it is loud): little may be understood",)),
        _case("silent", lambda folder: record(folder / "a.wav", [0 * tone(500)], layout="mono"),
              refused="NoAudio: sound track 1 of 1 is silent from beginning to end"),
    ]  # fmt: skip


def _id3(size: int) -> bytes:
    """An ID3v2.3 tag with a picture of this size."""
    content = b"\0image/jpeg\0\x03\0" + b"\xff\xd8\xff\xe0" + bytes(size)
    frame = b"APIC" + struct.pack(">IH", len(content), 0) + content
    length = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + length + frame


def _not_numbers(folder: Path) -> Path:
    path = record(folder / "a.wav", [beeps([0.5, 1.5], 2.5)], codec="pcm_f32le", layout="mono")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 8 + 4 * RATE
    content[at : at + 40] = struct.pack("<10f", *[float("nan"), float("inf")] * 5)
    path.write_bytes(content)
    return path


# --- refused -------------------------------------------------------------------------------------------------------


def _refused() -> list[RecordingCase]:
    def begins(start: bytes) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            (folder / "a").write_bytes(start + bytes(99))
            return folder / "a"

        return make

    new = "convert it, for example: ffmpeg -i FILE new.flac"
    names = {"WavPack": b"wvpk", "Monkey's Audio": b"MAC ", "DSS": b"\x02dss", "TTA": b"TTA1"}

    def written(suffix: str, codec: str, **more: Any) -> Callable[[Path], Path]:
        return lambda folder: record(folder / f"a.{suffix}", [noise(1)], codec=codec, layout="mono", **more)

    def dts(folder: Path) -> Path:
        path = written("mkv", "ac3")(folder)
        path.write_bytes(path.read_bytes().replace(b"A_AC3", b"A_DTS"))
        return path

    return [
        *(_case(name, begins(start), refused=new) for name, start in names.items()),
        _case("TTA in Matroska", written("mkv", "tta"), refused=f"audio codec 'tta' is not supported; {_CONVERT}"),
        _case("DTS in Matroska", dts, refused=f"audio codec 'dca' is not supported; {_CONVERT}"),
        _case("WMA in ASF", written("wma", "wmav2", bit_rate=64_000), refused="ffmpeg -i FILE -c:v libx264 -c:a aac new.mp4"),
        _case("WavPack in Matroska", written("mkv", "wavpack"), refused=f"audio codec 'wavpack' is not supported; {_CONVERT}"),
    ]  # fmt: skip
