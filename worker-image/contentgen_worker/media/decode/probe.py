"""Probing of a local file with an allow-list of containers and codecs.

FFmpeg also opens playlists, concatenations and devices; none is on the list, since they may refer to other files. All
other decoding follows this check. Probing parses and often decodes, so it runs in a confined child.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader, RawIOBase
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from contentgen_worker.errors import DecoderCrashed, NoVideoTrack, Unsupported
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.chunks import CorrectedFile, Correction
from contentgen_worker.media.decode.hints import CONVERT, hint
from contentgen_worker.media.decode.source import MediaSource
from contentgen_worker.media.sandbox.isolation import spawn

FORMATS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpegts", "ogg", "wav", "mp3", "flac", "aac"),
    *("w64", "aiff", "caf", "amr", "au", "gsm"),
)
_DAV1D = "libdav1d"  # a decoder of AV1
VIDEO_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", _DAV1D, "mpeg4", "mpeg2video", "mjpeg", "prores", "theora"}
)
AUDIO_CODECS = frozenset(
    {"aac", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3"}
    | {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_mulaw", "pcm_alaw"}
    | {"pcm_s8", "pcm_s32be", "pcm_f32be", "pcm_f64le", "pcm_f64be"}
    | {"amrnb", "amrwb", "speex", "gsm", "gsm_ms", "ilbc", "qcelp", "evrc", "g722", "g726", "truespeech"}
    | {"adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_yamaha"}
)
DOLBY_VISION = (
    "its colour encoding is Dolby Vision without a compatible base layer (profile 5, or 10.0), which is not supported; "
    "convert it to BT.709 (SDR)"
)
_IPT_PROFILES = (5, 10)
# DOVIDecoderConfigurationRecord; in Matroska the id and size of an element are before it.
_DOLBY_RECORD = re.compile(rb"dv[cv]C(?:\x41\xed.)?[\x01-\x03].(?P<profile>.).(?P<compatible>.)", re.DOTALL)
_HEADER_BYTES = 1 << 20  # of Matroska, and of MP4's moov box, in which a record of Dolby Vision is searched for
_MAX_BOXES = 1000  # of an MP4 file before its moov box
_CONSTANT_RATE = ("pcm_", "adpcm_", "gsm")  # codecs whose length follows from their size
_MAX_STREAMS = 64
_PROBE_CPU_SECONDS = 60  # of CPU; a film of 12 hours takes one
_ACCEPTED = "MP4/MOV/3GP, Matroska/WebM, MPEG-TS, Ogg, WAV/W64, MP3, FLAC, AAC, AIFF, CAF, AMR, AU or GSM"


@transferable
@dataclass(frozen=True)
class Recording:
    """Properties of a probed file. `seconds`: duration, 0 if unknown; `width` 0 without video."""

    seconds: float
    width: int
    height: int
    video_codec: str
    audio_codec: str
    fps: float = 0.0  # frames a second as stated, 0 if unknown
    track: int = 1  # number of the video track, of `tracks`
    tracks: int = 1
    ipt: bool = False  # colours that only a decoder for Dolby Vision can read
    unread_alpha: bool = False  # transparency in a track of its own, of VP8 and VP9, that FFmpeg's decoders leave out
    estimated: bool = False  # whether `seconds` is FFmpeg's estimate

    def __post_init__(self) -> None:
        if min(self.seconds, self.width, self.height, self.fps) < 0:
            raise ValueError("a negative length, size or frame rate")

    def require_video(self) -> None:
        """Raises NoVideoTrack or Unsupported unless there is a video track that we decode."""
        if not self.video_codec:
            raise NoVideoTrack("there is no video track in the file; provide a recording with video")
        if self.video_codec not in VIDEO_CODECS:
            accepted = ", ".join(sorted(VIDEO_CODECS - {_DAV1D}))
            raise Unsupported(f"video codec {self.video_codec!r} is not one of {accepted}; {CONVERT}")
        if not self.width:
            raise Unsupported(
                f"the size of its pictures is neither in the header of its video track ({self.video_codec}) nor in its "
                "first packets"
            )
        if self.ipt:
            raise Unsupported(DOLBY_VISION)


@contextmanager
def open_media(source: Path | MediaSource, wrong: Correction | None = None) -> Iterator[InputContainer]:
    """Open a file, which may still be downloading, with its header corrected. Raises Unsupported if it is not on the
    allow-list or damaged."""
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(FORMATS),
        "codec_whitelist": ",".join(sorted(VIDEO_CODECS | AUDIO_CODECS)),
        "max_streams": str(_MAX_STREAMS),
    }
    try:
        with _open_source(source, wrong) as file, av.open(file, "r", container_options=options) as container:
            yield container
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise Unsupported(f"not readable as {_ACCEPTED} ({_error_text(error)}): {_hint(source)}") from None


@contextmanager
def _open_source(source: Path | MediaSource, wrong: Correction | None) -> Iterator[str | RawIOBase]:
    if wrong:
        with CorrectedFile(open_bytes(source), wrong) as corrected:
            yield corrected
    elif isinstance(source, MediaSource) and not source.complete:
        with source.open() as file:
            yield file
    else:
        yield str(source.path if isinstance(source, MediaSource) else source)


def open_bytes(source: Path | MediaSource) -> RawIOBase:
    """File for reading, which may still be downloading."""
    return source.open() if isinstance(source, MediaSource) else source.open("rb", buffering=0)


def _hint(source: Path | MediaSource) -> str:
    with _opened(source) as file:
        return hint(file)


def _error_text(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or type(error).__name__)


def probe(source: Path | MediaSource, bounds: MediaLimits) -> Recording:
    """Properties of a file. Raises Unsupported, BeyondLimits, or DecoderCrashed."""
    limits = replace(bounds.child_limits(source), cpu_seconds=min(_PROBE_CPU_SECONDS, bounds.cpu_seconds))
    with spawn(send_recording, source, bounds, limits=limits) as child:
        for recording in child.messages():
            if isinstance(recording, Recording):
                return _check_limits(recording, bounds)
    raise DecoderCrashed("the decoder ended without a result")


def send_recording(send: Callable[[object], None], source: Path | MediaSource, bounds: MediaLimits) -> None:
    """Child process: send the Recording."""
    with open_media(source) as container:
        video = video_track(container)
        tracks = [track.index for track in _video_tracks(container)]
        audio = next(iter(container.streams.audio), None)
        recording = Recording(
            seconds=expected_duration(container),
            width=video.codec_context.width if video and video.codec_context else 0,
            height=video.codec_context.height if video and video.codec_context else 0,
            video_codec=codec_name(video) if video else "",
            audio_codec=codec_name(audio) if audio else "",
            fps=float(video.guessed_rate or 0) if video else 0.0,
            track=tracks.index(video.index) + 1 if video else 1,
            tracks=len(tracks),
            ipt=has_ipt_colours(source),
            unread_alpha=video is not None and video.metadata.get("alpha_mode") == "1",
            estimated=not stated_duration(container),
        )
    send(_check_limits(recording, bounds))


def _check_limits(recording: Recording, bounds: MediaLimits) -> Recording:
    """The same recording. Raises BeyondLimits. Both child and parent check, since the child is untrusted."""
    if not recording.estimated:
        bounds.check_duration(recording.seconds)
    bounds.check_pixels(recording.width, recording.height)
    return recording


def expected_duration(container: InputContainer) -> float:
    """Duration in seconds of an opened file, stated or estimated by FFmpeg; 0 if unknown."""
    # Matroska states its end, not its length.
    start = container.start_time or 0 if "matroska" in container.format.name else 0
    return max((container.duration or 0) - max(start, 0), 0) / av.time_base


def stated_duration(container: InputContainer) -> float:
    """Duration in seconds that an opened file states, else 0."""
    return expected_duration(container) if _states_duration(container) else 0.0


def _states_duration(container: InputContainer) -> bool:
    """Whether FFmpeg found a duration in the file. It hides that it estimates one, from sizes or from timestamps."""
    name, streams = container.format.name, container.streams
    if "matroska" in name:
        return any(stream.duration is None for stream in streams)  # an estimate is set for all
    if "mov" in name or name in {"aiff", "caf"}:
        return any(stream.frames for stream in streams)  # of its index, or header
    if name == "mp3":
        return bool(container.start_time)  # of the header that has the length, too
    if name == "wav":
        return all(codec_name(stream).startswith(_CONSTANT_RATE) for stream in streams)
    return name in {"flac", "au", "w64"}


def codec_name(stream: Stream) -> str:
    """Codec of a track; `unknown` if FFmpeg has no decoder."""
    return stream.codec_context.name if stream.codec_context else "unknown"


def has_ipt_colours(source: Path | MediaSource) -> bool:
    """Whether the record of Dolby Vision in a header of MP4 or Matroska states that the colours are IPT, which
    other decoders take for Y'CbCr. PyAV does not tell it.
    """
    with _opened(source) as file:
        header = _header(file)
    return any(
        record["profile"][0] >> 1 in _IPT_PROFILES and not record["compatible"][0] >> 4
        for record in _DOLBY_RECORD.finditer(header)
    )


def _opened(source: Path | MediaSource) -> BufferedReader:
    return BufferedReader(open_bytes(source))


def _header(file: BufferedReader) -> bytes:
    """MP4's moov box up to `_HEADER_BYTES`, or the begin of any other file."""
    for _ in range(_MAX_BOXES):
        start = file.tell()
        size, name = int.from_bytes(file.read(4), "big"), file.read(4)
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if name == b"moov":
            return file.read(min(size, _HEADER_BYTES))
        if size < 8 or not name.isalnum():
            break
        file.seek(start + size)
    file.seek(0)
    return file.read(_HEADER_BYTES)


def video_track(container: InputContainer) -> VideoStream | None:
    """The video track that is analysed: the default one, or else that of most pixels. Of a motion photo not the still.
    None without video.
    """
    return max(_video_tracks(container), key=_rank, default=None)


def _video_tracks(container: InputContainer) -> list[VideoStream]:
    return [each for each in container.streams.video if not is_cover(each.disposition)]


def _rank(track: VideoStream) -> tuple[bool, bool, int, int]:
    context = track.codec_context
    pixels = context.width * context.height if context else 0
    return track.frames != 1, bool(track.disposition & Disposition.default), pixels, -track.index


def is_cover(disposition: Disposition) -> bool:
    """Whether a video track is only cover art."""
    return bool(disposition & Disposition.attached_pic)
