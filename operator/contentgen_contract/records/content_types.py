"""Content types of stored files, by their names, and which of them a browser may show in a page of its own. Pure.

A worker says a content type when it stores a file. What a browser makes of a file is decided here instead.
"""

_BY_SUFFIX = {
    "flac": "audio/flac",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "json": "application/json",
    "png": "image/png",
    "srt": "application/x-subrip",
    "txt": "text/plain; charset=utf-8",
    "vtt": "text/vtt",
    "webp": "image/webp",
    "zip": "application/zip",
}
_UNKNOWN = "application/octet-stream"
_INLINE_TYPES = {"audio/flac", "image/jpeg", "image/png", "image/webp", "text/plain; charset=utf-8"}


def content_type_of(name: str) -> str:
    """The content type of a file of this name; that of plain bytes where the name tells none."""
    _, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(suffix, _UNKNOWN) if dot else _UNKNOWN


def disposition_of(name: str, *, saved: bool) -> str:
    """The Content-Disposition: `inline` only for pictures, sound and plain text, and where it is not to be saved."""
    shown = not saved and content_type_of(name) in _INLINE_TYPES
    return f'{"inline" if shown else "attachment"}; filename="{name}"'
