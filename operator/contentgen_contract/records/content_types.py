"""Content types and dispositions of downloads, by file name. Pure.

The content type that a worker declared is not used: it would decide whether a browser executes the file.
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
    """Content type by suffix; application/octet-stream for an unknown one."""
    _, dot, suffix = name.rpartition(".")
    return _BY_SUFFIX.get(suffix, _UNKNOWN) if dot else _UNKNOWN


def disposition_of(name: str, *, saved: bool) -> str:
    """Content-Disposition: `inline` for pictures, sound and plain text unless `saved`, else `attachment`."""
    inline = not saved and content_type_of(name) in _INLINE_TYPES
    return f'{"inline" if inline else "attachment"}; filename="{name}"'
