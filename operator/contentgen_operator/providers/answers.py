"""Provider's result in a temporary file. The operator does not parse a large one: it checks its size, first and last
character, and finds single fields; the worker parses it in a pod.
"""

import codecs
import json
import mmap
import re
import tempfile
import weakref
from typing import IO, Any

REPLY_BYTES = 1 << 20  # limit of a reply that is read into memory
_BUFFERED_BYTES = 512 << 20  # limit of all results that wait to be stored; /tmp has 1 GiB
_IN_MEMORY_BYTES = 1 << 20  # a smaller result needs no file
_BLOCK = 1 << 20
# The status of a transcript. It cannot match inside of a string, where quotes are escaped, and nested objects with a
# status have other values.
_STATUS = re.compile(rb'"status"\s*:\s*"(queued|processing|completed|error)"')
_VALUE = rb'true|false|null|-?[0-9][0-9.eE+-]{0,30}|"(?:[^"\\]|\\.){0,8192}"|\[[^\[\]{}]{0,8192}\]'
_SIGNATURE = re.compile(rb"(?:X-Amz-(?:Signature|Credential)|AWSAccessKeyId)=", re.IGNORECASE)  # of AWS, version 4 or 2
_URL_END = re.compile(rb'["\s<>]')  # ends a URL in JSON
_NAME = re.compile(rb'"([^"]*)"\s*:\s*(?:\[[^\[\]{}]*)?$')  # of a string, or of the list of strings that it is in
_LONGEST_URL = 8192
_MOST_DIGITS = 64  # of an integer; Python refuses to read very long ones
_buffered = 0


def read_json(content: bytes) -> Any:
    """JSON value, in which invalid UTF-8 is replaced and a very long integer stays a text. Raises ValueError,
    RecursionError.
    """
    return json.loads(content.decode(json.detect_encoding(content), "replace"), parse_int=_integer)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


class TooManyAnswers(ValueError):
    """Too many other results wait to be stored; this one is read later."""


class AnswerFile:
    """Provider's result in a temporary file, which is deleted with the object."""

    def __init__(self) -> None:
        self.size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the finalizer closes it
        self._sizes = [0]  # bytes counted against _BUFFERED_BYTES
        self._release_once = weakref.finalize(self, _release, self._file, self._sizes)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "AnswerFile":
        """An answer with this document. Raises TooManyAnswers."""
        answer = cls()
        answer.write(json.dumps(document).encode())
        return answer.checked()

    def write(self, content: bytes) -> None:
        """Append content. Raises TooManyAnswers."""
        global _buffered  # noqa: PLW0603 - all results share one volume
        if _buffered + len(content) > _BUFFERED_BYTES:
            raise TooManyAnswers(f"{_buffered >> 20} MiB of other results wait to be stored")
        _buffered += len(content)
        self._sizes[0] += len(content)
        self.size += len(content)
        self._file.write(content)

    def checked(self) -> "AnswerFile":
        """The same answer. Raises ValueError if it does not start and end as a JSON object."""
        start = self._at(0).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        end = self._at(max(self.size - _BLOCK, 0)).rstrip()[-1:]
        if (start, end) != (b"{", b"}"):
            raise ValueError("the answer is not a JSON object")
        return self

    def status(self) -> str:
        """Status of a transcript; empty: none."""
        if self.size <= REPLY_BYTES:
            given = read_json(self.read()).get("status")
            return given if isinstance(given, str) else "" if given is None else ascii(given)
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _STATUS.search(content)
            return found[1].decode() if found else ""

    def field(self, name: str) -> Any:
        """String, number, boolean or list of strings by its name; None: missing, null or not JSON.

        A large document is searched without parsing, so the first field of this name at any depth is taken.
        """
        try:
            if self.size <= REPLY_BYTES:
                return read_json(self.read()).get(name)
            with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found = re.search(rb'"' + re.escape(name.encode()) + rb'"\s*:\s*(' + _VALUE + rb")", content)
                return read_json(found[1]) if found else None
        except (ValueError, RecursionError):
            return None

    def cut_signatures(self, needed: frozenset[str]) -> None:
        """Remove the query of presigned URLs, except of fields named in `needed`. The size stays."""
        if self.size <= _IN_MEMORY_BYTES:
            content = bytearray(self.read())
            _cut_queries(content, needed)
            self._file.seek(0)
            self._file.write(content)
        else:
            self._file.flush()
            with mmap.mmap(self._file.fileno(), 0) as mapped:
                _cut_queries(mapped, needed)

    def read(self) -> bytes:
        """Whole content; only for small answers."""
        self._file.seek(0)
        return self._file.read()

    def file(self) -> IO[bytes]:
        """Open file at its start; only one reader at a time."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Delete the file; idempotent."""
        self._release_once()

    def _at(self, start: int) -> bytes:
        self._file.flush()
        self._file.seek(start)
        return self._file.read(_BLOCK)


def _cut_queries(content: bytearray | mmap.mmap, needed: frozenset[str]) -> None:
    """Cut queries in place: spaces follow the shortened string, or replace the query in the middle of a text."""
    at = 0
    while (mark := _SIGNATURE.search(content, at)) is not None:
        at = mark.end()
        start = content.rfind(b"?", max(mark.start() - _LONGEST_URL, 0), mark.start())
        if start < 0 or _URL_END.search(content, start, mark.start()):
            continue
        found = _URL_END.search(content, at)
        end = found.start() if found else len(content)
        if _json_name_at(content, start) not in needed:
            escapes = len(content[start:end]) - len(content[start:end].rstrip(b"\\"))
            closes = content[end : end + 1] == b'"' and escapes % 2 == 0
            end += closes or -(escapes % 2)
            content[start:end] = b'"'[:closes] + b" " * (end - start - closes)
        at = max(at, end)


def _json_name_at(content: bytearray | mmap.mmap, inside: int) -> str:
    """Name of the JSON field whose string, or list of strings, contains a position; empty: none."""
    start = content.rfind(b'"', max(inside - _LONGEST_URL, 0), inside)
    name = _NAME.search(bytes(content[max(start - _LONGEST_URL, 0) : start])) if start > 0 else None
    return name[1].decode(errors="replace") if name else ""


def _release(file: IO[bytes], sizes: list[int]) -> None:
    global _buffered  # noqa: PLW0603 - see above
    file.close()
    _buffered -= sizes[0]
