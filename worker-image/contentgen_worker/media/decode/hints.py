"""Hints for files that can't be opened: their type, guessed from their first bytes, and what to do with it."""

import re
from io import BufferedIOBase

_START_BYTES = 1024  # of a file that are read
_MAX_BOXES = 1000  # of an MP4 file
CONVERT = "convert it, for example: ffmpeg -i FILE -c:v libx264 -c:a aac new.mp4"
_NEW_SOUND = "convert it, for example: ffmpeg -i FILE new.flac"
_RAW = "it is a video stream without times; wrap it, for example: ffmpeg -framerate 25 -i FILE -c copy new.mp4"
# Possessive (*+): many comments could be divided in very many ways.
_MARKUP = rb"(\xef\xbb\xbf)?(\s|<!--.*?-->|<\?xml[^>]*>)*+"
_KNOWN = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), hint)
    for pattern, hint in (
        (
            _MARKUP + rb"<(!doctype\s+html|html|head|body|script)\b",
            "it is a web page (HTML); use the URL of the file itself, one that needs no log-in",
        ),
        (_MARKUP + rb"<(rss|feed)\b", "it is a feed; use the URL of one recording in it (enclosure)"),
        (
            _MARKUP + rb"<error>\s*<code>",
            "it is an error message of an object store: its URL is wrong or expired, or grants no access",
        ),
        (
            _MARKUP + rb"(#EXTM3U|\[playlist\]|ffconcat|<(MPD|smil))",
            "it is a playlist; use the URL of the recording itself, in one file",
        ),
        (_MARKUP + rb"[{\[]\s*[\"{\[\]}]", "it is JSON; use the URL of the recording itself"),
        (rb"PK\x03\x04|7z\xbc\xaf|Rar!|\x1f\x8b|BZh|.{257}ustar", "it is an archive; provide the recording in it"),
        (rb"GIF8.{0,900}NETSCAPE2\.0|\x89PNG.{0,900}acTL|RIFF....WEBP.{0,60}ANIM", f"it is animated; {CONVERT}"),
        (rb"\xff\xd8\xff|\x89PNG|GIF8|BM|II\*\x00|MM\x00\*|RIFF....WEBP", "it is a picture; provide a recording"),
        (rb"wvpk|MAC |TTA1|DSD |FRM8|\x0bw|\x02dss|Creative Voice", _NEW_SOUND),
        (rb"RIFF....AVI |0&\xb2u|FLV\x01|\.RMF|DKIF|YUV4MPEG2", CONVERT),  # AVI, ASF/WMV, RealMedia, IVF, Y4M
        (rb"\x00\x00\x01[\xba\xb3]|\x06\x0e\x2b\x34|\x1f\x07\x00", CONVERT),  # MPEG-PS, VOB, MPEG-1/2; MXF; DV
        # H.264 begins with a delimiter (9) or parameters (7), HEVC with 35 or 32 to 34.
        (rb"\x00?\x00\x00\x01([\x09\x27\x47\x67]|[\x40\x42\x44\x46]\x01)", _RAW),
        (
            rb"OggS|RIFF....WAVE|fLaC|\x1a\x45\xdf\xa3|FORM....AIF|caff|#!AMR|\.snd",
            "it begins as such a file, but what follows is not understood",
        ),
    )
)


def hint(file: BufferedIOBase) -> str:
    """Guess at the type of a file that can't be opened; reveals none of its content. Reads from the position 0."""
    start = file.read(_START_BYTES)
    if not start:
        return "it is empty"
    for pattern, known in _KNOWN:
        if pattern.match(start):
            return known
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _mp4_hint(file)
    if start.isascii() and not re.search(rb"[\x00-\x08\x0e-\x1f]", start):
        return "it is text"
    return "its first bytes are those of no recording known here; provide another file"


def _mp4_hint(file: BufferedIOBase) -> str:
    """Hint for an MP4 or MOV file by its boxes: a recorder writes the index (`moov`) last."""
    at, end = 0, file.seek(0, 2)
    for _ in range(_MAX_BOXES):
        file.seek(at)
        size, name = int.from_bytes(file.read(4), "big"), file.read(4)
        size = int.from_bytes(file.read(8), "big") if size == 1 else size or end - at
        if name == b"moov":
            return "its index (moov) is there, but not understood"
        if size < 8 or at + size >= end:
            break
        at += size
    return "its index (moov) is missing: the recording was not finished, or the file is cut off; provide the whole file"
