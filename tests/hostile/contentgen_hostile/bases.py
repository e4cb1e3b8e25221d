"""Valid recordings of five seconds from FFmpeg's encoders, from which the broken ones are derived."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame

FPS, FRAMES, SCENES = 12, 60, 5
SIZE = (160, 90)
_RATE = 48_000
Retime = Callable[[int], int]  # frame number to timestamp, in twelfths of a second


@dataclass(frozen=True)
class HostileTrack:
    """Encoding of a track. `shape`: pixel format or channel layout."""

    codec: str
    shape: str
    options: dict[str, str] = field(default_factory=dict)
    rate: int = _RATE


@dataclass(frozen=True)
class Base:
    """Container and its tracks."""

    container: str
    video: HostileTrack | None = None
    audio: HostileTrack | None = None
    options: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = SIZE
    retime: Retime | None = None
    frames: int = FRAMES
    sounds: int = 1


H264 = HostileTrack("libx264", "yuv420p", {"preset": "ultrafast", "g": "12", "threads": "1"})
AAC = HostileTrack("aac", "mono")
OPUS = HostileTrack("libopus", "mono")
VP8 = HostileTrack("libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "threads": "1"})
VP9 = HostileTrack("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "threads": "1"})
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def _hevc(shape: str) -> HostileTrack:
    return HostileTrack(
        "libx265", shape, {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}
    )


HDR = {**_hevc("").options, "color_primaries": "bt2020", "color_trc": "smpte2084", "colorspace": "bt2020nc"}


def _stutter(number: int) -> int:
    return number + (number // 5) * 3  # a pause after each fifth frame


def _later(number: int) -> int:
    return number + 12 * 3600 * 24 * 10


def _again(number: int) -> int:
    return number if number < FRAMES // 2 else number + 12 * 4000


BASES = {
    "mp4-h264-aac": Base("mp4", H264, AAC),
    "mp4-faststart": Base("mp4", H264, AAC, {"movflags": "faststart"}),
    "mp4-fragmented": Base("mp4", H264, AAC, FRAGMENTED),
    "mp4-b-frames": Base(
        "mp4", HostileTrack("libx264", "yuv420p", {"preset": "medium", "g": "12", "threads": "1"}), AAC
    ),
    "mp4-hevc": Base("mp4", _hevc("yuv420p"), AAC),
    "mp4-av1": Base("mp4", HostileTrack("libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "lp=1"}), AAC),
    "mp4-mpeg4": Base("mp4", HostileTrack("mpeg4", "yuv420p"), AAC),
    "mov-prores": Base("mov", HostileTrack("prores_ks", "yuv422p10le"), HostileTrack("pcm_s16le", "stereo")),
    "mov-mjpeg": Base("mov", HostileTrack("mjpeg", "yuvj420p"), HostileTrack("pcm_s24le", "mono")),
    "mkv-h264-opus": Base("matroska", H264, OPUS),
    "mkv-vp9-flac": Base("matroska", VP9, HostileTrack("flac", "stereo")),
    "webm-vp8-opus": Base("webm", VP8, OPUS),
    "ts-mpeg2-mp2": Base("mpegts", HostileTrack("mpeg2video", "yuv420p"), HostileTrack("mp2", "stereo")),
    "ts-h264-aac": Base("mpegts", H264, AAC),
    "wav": Base("wav", audio=HostileTrack("pcm_s16le", "stereo")),
    "mp3": Base("mp3", audio=HostileTrack("libmp3lame", "stereo")),
    "flac": Base("flac", audio=HostileTrack("flac", "stereo")),
    "aac": Base("adts", audio=AAC),
    "ogg-opus": Base("ogg", audio=OPUS),
}
"""Bases of most broken files."""

ODD = {
    "10-bit-h264": Base("mp4", HostileTrack("libx264", "yuv420p10le", H264.options), AAC),
    "10-bit-hevc": Base("mp4", _hevc("yuv420p10le"), AAC),
    "hdr": Base("mp4", replace(_hevc("yuv420p10le"), options=HDR), AAC),
    "4-4-4": Base("mp4", HostileTrack("libx264", "yuv444p", H264.options), AAC),
    "4-2-2": Base("mp4", HostileTrack("libx264", "yuv422p", H264.options), AAC),
    "gray": Base("mp4", HostileTrack("libx264", "gray", H264.options), AAC),
    "rgb": Base("mp4", HostileTrack("libx264rgb", "rgb24", H264.options), AAC),
    "alpha-prores": Base("mov", HostileTrack("prores_ks", "yuva444p10le"), AAC),
    "alpha-vp9": Base("webm", HostileTrack("libvpx-vp9", "yuva420p", {**VP9.options, "auto-alt-ref": "0"}), OPUS),
    "lossless": Base("mp4", HostileTrack("libx264", "yuv420p", {**H264.options, "qp": "0"}), AAC),
    "interlaced": Base(
        "mpegts", HostileTrack("mpeg2video", "yuv420p", {"flags": "+ilme+ildct"}), HostileTrack("mp2", "mono")
    ),
    "all-keyframes": Base("mp4", HostileTrack("libx264", "yuv420p", {**H264.options, "g": "1"}), AAC),
    "one-keyframe": Base("mp4", HostileTrack("libx264", "yuv420p", {**H264.options, "g": "999"}), AAC),
    "vfr": Base("mp4", H264, AAC, retime=_stutter),
    "vfr-mkv": Base("matroska", H264, OPUS, retime=_stutter),
    "begins-after-ten-days": Base("matroska", H264, retime=_later),
    "a-gap-of-an-hour": Base("matroska", H264, retime=_again),
    "negative": Base("mp4", H264, AAC, {"avoid_negative_ts": "disabled"}, retime=lambda number: number - 20),
    "negative-ts": Base("mpegts", H264, AAC, {"avoid_negative_ts": "disabled"}, retime=lambda number: number - 20),
    "odd-size": Base("matroska", HostileTrack("libvpx-vp9", "yuv420p", VP9.options), size=(63, 37)),
    "very-wide": Base("matroska", VP9, size=(2000, 16)),
    "very-high": Base("matroska", VP9, size=(16, 2000)),
    "tiny": Base("matroska", VP9, size=(2, 2)),
    "one-frame": Base("mp4", H264, AAC, frames=1),
    "two-frames": Base("mp4", H264, frames=2),
    "video-only": Base("mp4", H264),
    "audio-only-m4a": Base("mp4", audio=AAC),
    "alac": Base("mp4", audio=HostileTrack("alac", "stereo")),
    "ac3": Base("mpegts", audio=HostileTrack("ac3", "stereo")),
    "eac3": Base("mp4", audio=HostileTrack("eac3", "5.1")),
    "mu-law": Base("wav", audio=HostileTrack("pcm_mulaw", "mono", rate=8000)),
    "float": Base("wav", audio=HostileTrack("pcm_f32le", "7.1")),
    "four-sound-tracks": Base("matroska", H264, OPUS, sounds=4),
    "avi": Base("avi", HostileTrack("mpeg4", "yuv420p"), HostileTrack("libmp3lame", "mono")),
    "flv": Base("flv", HostileTrack("libx264", "yuv420p", H264.options), AAC),
    "gif": Base("gif", HostileTrack("gif", "rgb8")),
    "ffv1": Base("matroska", HostileTrack("ffv1", "yuv420p")),
    "qtrle": Base("mov", HostileTrack("qtrle", "rgb24")),
    "png-in-mov": Base("mov", HostileTrack("png", "rgb24")),
    "adpcm": Base("wav", audio=HostileTrack("adpcm_ms", "mono")),
    "asf": Base("asf", HostileTrack("mpeg4", "yuv420p")),
}
"""Rare, but valid formats."""


@cache
def encoded(name: str) -> bytes:
    """File content of a base."""
    base = {**BASES, **ODD}[name]
    options = {"fflags": "+bitexact", **base.options}
    os.environ.setdefault("SVT_LOG", "1")
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=base.container, container_options=options) as container:
            video = _video(container, base) if base.video else None
            sounds = [_audio(container, base.audio) for _ in range(base.sounds) if base.audio]
            for packet in _packets(base, video, sounds):
                container.mux(packet)
        return Path(file.name).read_bytes()


def _audio(container: Any, track: HostileTrack) -> Any:
    return container.add_stream(track.codec, track.rate, layout=track.shape)


def _video(container: Any, base: Base) -> Any:
    track = base.video
    assert track is not None
    stream = container.add_stream(track.codec, rate=FPS, options={"flags": "+bitexact", **track.options})
    stream.width, stream.height = base.size
    stream.pix_fmt = track.shape
    stream.codec_context.time_base = Fraction(1, FPS)
    return stream


def _packets(base: Base, video: Any, sounds: list[Any]) -> Iterator[Any]:
    if video is not None:
        for number in range(base.frames):
            frame = av.VideoFrame.from_ndarray(picture(number, base.size), format="rgb24")
            frame.pts = base.retime(number) if base.retime else number
            frame.time_base = Fraction(1, FPS)
            yield from video.encode(frame)
        yield from video.encode(None)
    for stream in sounds:
        for sound in _sound(stream, base.frames / FPS):
            yield from stream.encode(sound)
        yield from stream.encode(None)


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Blocks that change between scenes and move slightly within one: height x width x RGB."""
    random = np.random.default_rng(number * SCENES // FRAMES)
    blocks = random.integers(0, 255, (9, 16, 3), dtype=np.uint8)
    rows = np.arange(size[1]) * 9 // size[1]
    columns = (np.arange(size[0]) + number) * 16 // size[0] % 16
    return np.ascontiguousarray(blocks[rows][:, columns])


def _sound(stream: Any, seconds: float) -> Iterator[AudioFrame]:
    """A tone, in frames of the encoder's size."""
    context = stream.codec_context
    context.open(strict=False)
    samples = context.frame_size or 1024
    rate, channels = context.sample_rate, context.layout.nb_channels
    for start in range(0, max(int(rate * seconds), samples), samples):
        wave = np.sin(2 * np.pi * 440 * np.arange(start, start + samples) / rate) * 8000
        content = np.tile(wave.astype(np.int16)[:, None], (1, channels)).reshape(1, -1)
        frame = AudioFrame.from_ndarray(content, format="s16", layout=context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield from av.AudioResampler(context.format.name, context.layout.name, rate).resample(frame)
