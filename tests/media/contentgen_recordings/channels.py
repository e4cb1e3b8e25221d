"""Family: layouts of channels, stated or not, and channels that cancel each other."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from contentgen_recordings.case import RecordingCase
from contentgen_recordings.sounds import RATE, Sound, beeps, joined, record, tone, tones

_A, _B = tone(500), tone(800)
_NONE = 0 * _A
_LATE = np.r_[tone(500, 1), -tone(500, 1)]
_CANCEL = "its channels cancel each other for {} s: some are mixed with opposite polarity there"
_UNSTATED = "its {} channels have no stated layout: all are mixed with equal weight"
_ROOT = 0.5**0.5
_WEIGHTS = {
    **dict.fromkeys(("FC", "AMBI0"), 1.0),
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR", "WL", "WR"), _ROOT),
    **dict.fromkeys(("LFE", "LFE2", "AMBI1", "AMBI2", "AMBI3"), 0.0),
}  # others 0.5


def layouts() -> list[RecordingCase]:
    """Channels with and without names, of each polarity, and layouts that change on the way."""
    return [*_polarities(), *_unstated(), *_stated(), *_orders(), *_changes()]


def _case(name: str, path: str, channels: Sequence[Sound], *, layout: str = "", codec: str = "pcm_s16le") -> Callable:  # type: ignore[type-arg]
    def make(folder: Path) -> Path:
        return record(folder / path, channels, layout=layout, codec=codec)

    def case(heard: dict[int, float], *notes: str) -> RecordingCase:
        return RecordingCase(name, "sound layouts", make, heard, seconds=len(channels[0]) / RATE, notes=notes)

    return case


def _polarities() -> list[RecordingCase]:
    stereo = {"layout": "stereo"}
    return [
        _case("opposite polarity: WAV", "a.wav", [_A, -_A], **stereo)({500: 0.25}, _CANCEL.format(2)),
        _case("opposite polarity: FLAC", "a.flac", [_A, -_A], codec="flac", **stereo)({500: 0.25}, _CANCEL.format(2)),
        _case("opposite polarity: Matroska", "a.mkv", [_A, -_A])({500: 0.25}, _CANCEL.format(2)),
        _case("opposite polarity: 1 dB apart", "a.wav", [_A, -0.9 * _A], **stereo)({500: 0.2375}, _CANCEL.format(2)),
        _case("opposite polarity: 6 dB apart", "a.wav", [_A, -_A / 2], **stereo)({500: 0.1875}, _CANCEL.format(2)),
        _case("opposite polarity: 14 dB apart", "a.wav", [_A, -_A / 5], **stereo)({500: 0.1}),
        _case("opposite polarity: with an offset", "a.wav", [_A + 0.3, -_A + 0.3], **stereo)(
            {500: 0.25}, _CANCEL.format(2)
        ),
        _case("opposite polarity: in its second half", "a.wav", [_A, _LATE], **stereo)({500: 0.25}, _CANCEL.format(1)),
        _case("opposite polarity: front of 5.1", "a.wav", [_A, -_A, *[_NONE] * 4], layout="5.1")(
            {500: 0.25 * 2 * _ROOT / (2 + 2 * _ROOT)}, _CANCEL.format(2)
        ),
        _case("opposite polarity: two pairs of quad", "a.wav", [_A, -_A, _B, -_B], layout="quad")(
            {500: 0.25 * _ROOT * 2 / (1 + 2 * _ROOT)}, _CANCEL.format(2)
        ),
        _case("opposite polarity: two pairs without a layout", "a.wav", [_A, -_A, _B, -_B])(
            {500: 0.25, 800: 0.25}, _UNSTATED.format(4), _CANCEL.format(2)
        ),
        _case("stereo: the same on both", "a.wav", [_A, _A], **stereo)({500: 0.25}),
        _case("stereo: a speaker on each", "a.wav", [_A, _B], **stereo)({500: 0.125, 800: 0.125}),
        _case("stereo: left only", "a.wav", [_A, _NONE], **stereo)({500: 0.125}),
        _case("stereo: right only", "a.wav", [_NONE, _A], **stereo)({500: 0.125}),
        _case("mono", "a.wav", [_A], layout="mono")({500: 0.25}),
    ]


def _unstated() -> list[RecordingCase]:
    found = []
    for count in (3, 5, 6, 7, 8, 10, 24):
        sounds = tones(count, step=100, level=0.1)
        power = 0.1 * count**-0.5
        peak = max(1.0, float(np.abs(np.sum(sounds, axis=0)).max()) * count**-0.5)
        for suffix in ("wav", "mkv", "mov", "caf"):
            case = _case(f"channels without a layout in {suffix.upper()}: {count}", f"a.{suffix}", sounds)
            found.append(case(dict.fromkeys(range(300, 300 + 100 * count, 100), power / peak), _UNSTATED.format(count)))
    one = [tone(500, level=0.05), *[_NONE] * 31]
    many = _case("65 channels", "a.wav", [_A] * 65)({})
    return [
        *found,
        _case("one speaker on one of 32 channels", "a.wav", one)({500: 0.05 * 32**-0.5}, _UNSTATED.format(32)),
        RecordingCase(
            many.name, many.family, many.make, refused="its sound has 65 channels, at most 64 are read; split it"
        ),
    ]


def _stated() -> list[RecordingCase]:
    table = [
        ("a.wav", "5.1", "pcm_s16le"), ("a.flac", "5.1", "flac"), ("a.mka", "5.1", "flac"), ("a.wav", "3.0", "pcm_s16le"),
        ("a.wav", "7.1", "pcm_s16le"), ("a.mov", "7.1", "pcm_s24le"), ("a.mov", "6.1", "pcm_s16le"),
        ("a.mov", "7.1(wide-side)", "pcm_s16le"), ("a.wav", "quad", "pcm_s16le"), ("a.wav", "2.1", "pcm_s16le"),
        ("a.wav", "5.1.2", "pcm_s24le"), ("a.wav", "7.1.4", "pcm_s24le"), ("a.wav", "hexagonal", "pcm_s16le"),
        ("a.wav", "octagonal", "pcm_f32le"), ("a.caf", "downmix", "pcm_s16be"), ("a.m4a", "5.1", "alac"),
    ]  # fmt: skip
    found = []
    for path, layout, codec in table:
        names = [channel.name for channel in av.AudioLayout(layout).channels]
        name = f"stated layout in {path[2:].upper()}: {layout} {codec.partition('_')[0]}"
        found.append(_case(name, path, tones(len(names)), layout=layout, codec=codec)(_downmix(names)))
    for path, layout, codec in (
        ("a.mp4", "5.1", "aac"), ("a.mkv", "5.1(side)", "ac3"), ("a.ts", "5.1(side)", "eac3"), ("a.webm", "5.1", "libopus"),
        ("a.mp4", "7.1", "libopus"), ("a.mp4", "7.1", "aac"),
    ):  # fmt: skip
        names = [channel.name for channel in av.AudioLayout(layout).channels]
        name = f"stated layout in {path[2:].upper()}: {layout} {codec.removeprefix('lib')}"
        case = _case(name, path, tones(len(names)), layout=layout, codec=codec)(_downmix(names))
        found.append(RecordingCase(name, case.family, case.make, case.heard, within=0.1))
    return found


def _downmix(names: Sequence[str]) -> dict[int, float]:
    weights = [_WEIGHTS.get(name, 0.5) for name in names]
    return {300 + 150 * number: 0.25 * weight / sum(weights) for number, weight in enumerate(weights)}


def _orders() -> list[RecordingCase]:
    """Layouts of Apple's CoreAudio, of film masters: PyAV alone crashes on them (decision 0045)."""
    table = {
        122: "FL FR SL SR FC LFE", 123: "FL FC FR SL SR LFE", 124: "FC FL FR SL SR LFE", 125: "FL FR FC LFE SL SR BC",
        126: "FL FR FC LFE SL SR FLC FRC", 127: "FC FLC FRC FL FR SL SR LFE", 128: "FL FR FC LFE SL SR BL BR",
        129: "FL FR SL SR FC LFE FLC FRC",
    }  # fmt: skip
    found = []
    for tag, order in table.items():
        names = order.split()
        for suffix in ("mov", "caf"):
            name = f"order of channels of film masters in {suffix.upper()}: {order}"
            found.append(RecordingCase(name, "sound layouts", _tagged(suffix, tag, len(names)), _downmix(names)))
    return found


def _tagged(suffix: str, tag: int, count: int) -> Callable[[Path], Path]:
    """The tag is written into the chunk `chan`."""

    def make(folder: Path) -> Path:
        layout = {6: "5.1", 7: "6.1", 8: "7.1(wide)"}[count]
        path = record(folder / f"a.{suffix}", tones(count), layout=layout)
        content = bytearray(path.read_bytes())
        at = content.index(b"chan") + (8 if suffix == "mov" else 12)
        struct.pack_into(">III", content, at, tag << 16 | count, 0, 0)
        path.write_bytes(content)
        return path

    return make


def _changes() -> list[RecordingCase]:
    def mixed(codec: str, suffix: str, *shapes: tuple[str, int]) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            parts = [
                record(
                    folder / f"{number}.{suffix}",
                    [beeps([1], 2, rate)] * av.AudioLayout(layout).nb_channels,
                    codec=codec, layout=layout, rate=rate,
                    options={"output_ts_offset": str(2 * number)} if suffix == "ts" else None,
                )
                for number, (layout, rate) in enumerate(shapes)
            ]  # fmt: skip
            return joined(folder / f"a.{suffix}", parts)

        return make

    changes = {
        "change on the way: rate of AAC": mixed("aac", "aac", ("mono", 44100), ("mono", 24000)),
        "change on the way: AAC from mono to stereo": mixed("aac", "aac", ("mono", 44100), ("stereo", 44100)),
        "change on the way: AC-3 from 5.1 to stereo": mixed("ac3", "ts", ("5.1(side)", 48000), ("stereo", 48000)),
    }
    mp3 = mixed("libmp3lame", "mp3", ("stereo", 44100), ("mono", 44100))
    seam = ("1 damaged packet of its sound is left out",)  # the second file's header
    return [
        *(RecordingCase(name, "sound layouts", make, begins=(1, 3), apart=0.1) for name, make in changes.items()),
        RecordingCase(
            "change on the way: MP3 from stereo to mono", "sound layouts", mp3, begins=(1, 3), apart=0.1, notes=seam
        ),
    ]
