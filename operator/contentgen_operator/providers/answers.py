"""A provider's result, in a temporary file: it is opaque to the operator, which knows its size and that it begins and
ends as a JSON object does. The worker, in a pod of its own, parses it.
"""

import json
import mmap
import re
import tempfile
import weakref
from typing import IO, Any

REPLY_BYTES = 1 << 20  # of a reply that is read whole
ANSWER_BYTES = 64 << 20  # of a result; 12 hours of words are about 30 MB
_HELD_BYTES = 512 << 20  # of all results that wait to be stored; /tmp has 1 GiB
_IN_MEMORY_BYTES = 1 << 20  # a smaller result needs no file
_BLOCK = 1 << 20
# Of a transcript, whatever nested objects there are: inside of a string the quotes would be escaped, and the other
# objects that have a status know other words.
_STATUS = re.compile(rb'"status"\s*:\s*"(queued|processing|completed|error)"')
_held = 0


class TooManyAnswers(ValueError):
    """Other results wait to be stored; this one is read later."""


class Answer:
    """A provider's result in a temporary file, which goes with the object."""

    def __init__(self) -> None:
        self.size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the finalizer closes it
        self._sizes = [0]  # counted against _HELD_BYTES
        self._given_back = weakref.finalize(self, _give_back, self._file, self._sizes)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Answer":
        """An answer with this document."""
        answer = cls()
        answer.write(json.dumps(document).encode())
        return answer.checked()

    def write(self, content: bytes) -> None:
        """More of it. Raises TooManyAnswers."""
        global _held  # noqa: PLW0603 - all results share one volume
        if _held + len(content) > _HELD_BYTES:
            raise TooManyAnswers(f"{_held >> 20} MiB of other results wait to be stored")
        _held += len(content)
        self._sizes[0] += len(content)
        self.size += len(content)
        self._file.write(content)

    def checked(self) -> "Answer":
        """The same. Raises ValueError where it is no JSON object."""
        start = self._at(0).lstrip()[:1]
        end = self._at(max(self.size - _BLOCK, 0)).rstrip()[-1:]
        if (start, end) != (b"{", b"}"):
            raise ValueError("the answer is no JSON object")
        return self

    def status(self) -> str:
        """The status of a transcript; empty where it has none."""
        if self.size <= REPLY_BYTES:
            document = json.loads(self.read())
            return str(document.get("status"))
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _STATUS.search(content)
            return found[1].decode() if found else ""

    def read(self) -> bytes:
        """All of it. For small ones."""
        self._file.seek(0)
        return self._file.read()

    def file(self) -> IO[bytes]:
        """The open file, at its beginning; read by one at a time."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Remove the file. Any number of times."""
        self._given_back()

    def _at(self, start: int) -> bytes:
        self._file.flush()
        self._file.seek(start)
        return self._file.read(_BLOCK)


def _give_back(file: IO[bytes], sizes: list[int]) -> None:
    global _held  # noqa: PLW0603 - see above
    file.close()
    _held -= sizes[0]
