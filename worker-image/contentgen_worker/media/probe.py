"""What a local file is, found by opening it with an allow-list of containers and codecs.

FFmpeg opens playlists, concatenations and devices as happily as videos; of those none is on the list, and a file
may name no other file. Everything else that decodes the file comes after this check of the same bytes.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from contentgen_worker.errors import NoAudioTrack, NoVideoTrack, Unsupported
from contentgen_worker.media.bounds import Bounds

FORMATS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpegts", "ogg", "wav", "mp3", "flac", "aac")
VIDEO_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mjpeg", "prores", "theora"}
)
AUDIO_CODECS = frozenset(
    {"aac", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3"}
    | {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_mulaw", "pcm_alaw"}
)
_ACCEPTED = "MP4/MOV, Matroska/WebM, MPEG-TS, Ogg, WAV, MP3, FLAC or AAC"


@dataclass(frozen=True)
class Recording:
    """A file that was opened; `seconds` is what it says of itself (0: nothing), `width` 0 without pictures."""

    seconds: float
    width: int
    height: int
    video_codec: str
    audio_codec: str

    def require_video(self) -> None:
        """Raises unless there are pictures that we decode."""
        if not self.width:
            raise NoVideoTrack("there is no video track in the file; give a recording with pictures")
        if self.video_codec not in VIDEO_CODECS:
            raise Unsupported(f"video codec {self.video_codec!r}; expected one of {', '.join(sorted(VIDEO_CODECS))}")

    def require_audio(self) -> None:
        """Raises unless there is sound that we decode."""
        if not self.audio_codec:
            raise NoAudioTrack("there is no sound track in the file; give a recording with sound")
        if self.audio_codec not in AUDIO_CODECS:
            raise Unsupported(f"audio codec {self.audio_codec!r}; expected one of {', '.join(sorted(AUDIO_CODECS))}")


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The file, opened. Raises Unsupported where it is nothing on the list, or breaks while it is read."""
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(FORMATS),
        "codec_whitelist": ",".join(sorted(VIDEO_CODECS | AUDIO_CODECS)),
    }
    try:
        with av.open(str(path), container_options=options) as container:
            yield container
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise Unsupported(f"not readable as {_ACCEPTED} ({_text(error)}): {_guess(path)}") from None


def _guess(path: Path) -> str:
    """What a file that can't be opened looks like; none of its content is shown."""
    with path.open("rb") as file:
        start = file.read(512)
    if re.match(rb"\s*<(!doctype\s+html|html|head|body)\b", start, re.IGNORECASE):
        return "it is a web page (HTML); give the address of the file itself, one that needs no log-in"
    if start.isascii() and not re.search(rb"[\x00-\x08\x0e-\x1f]", start):
        return "it is text"
    return "it may be damaged or cut off"


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or type(error).__name__)


def probe(path: Path, bounds: Bounds) -> Recording:
    """What the file is. Raises Unsupported, or BeyondLimits."""
    with opened(path) as container:
        video = next((stream for stream in container.streams.video if not is_cover(stream.disposition)), None)
        audio = next(iter(container.streams.audio), None)
        recording = Recording(
            seconds=(container.duration or 0) / av.time_base,
            width=video.codec_context.width if video else 0,
            height=video.codec_context.height if video else 0,
            video_codec=video.codec_context.name if video else "",
            audio_codec=audio.codec_context.name if audio else "",
        )
    bounds.check_duration(recording.seconds)
    bounds.check_pixels(recording.width, recording.height)
    return recording


def is_cover(disposition: Disposition) -> bool:
    """A track that is a picture of an album, and no video."""
    return bool(disposition & Disposition.attached_pic)
