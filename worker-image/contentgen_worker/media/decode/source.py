"""A recording that is decoded while it still comes down.

The downloader writes a sparse file and, beside it, a map of what is there. Readers, in any process, open both for
reading only: a read of bytes that are not there waits for them. Where they read they tell with a shared lock on the
map, which takes no right to write and ends with them; the downloader asks the kernel for these locks and fetches first
what a reader comes to next.
"""

import fcntl
import io
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contentgen_worker.errors import Unreachable

PIECE = 1 << 20  # bytes; each is filled from its beginning
_COMING, _WHOLE, _FAILED = range(3)
_STATES = 1  # words of the map before those of the pieces
_WORD = 4  # bytes: of each piece, how many are there
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # seconds, of a reader that waits
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, process


@dataclass(frozen=True, slots=True)
class MediaSource:
    """A file of `size` bytes that is coming, or came. Goes to other processes as it is."""

    path: Path
    size: int

    @property
    def map(self) -> Path:
        """What of it is there."""
        return self.path.with_name(f"{self.path.name}.map")

    @property
    def files(self) -> tuple[Path, Path]:
        """What a reader must be allowed to read."""
        return self.path, self.map

    @property
    def whole(self) -> bool:
        """Nothing is missing, and its checksum is right where one was given."""
        with self.map.open("rb") as file:
            return int.from_bytes(file.read(_WORD), "little") == _WHOLE

    def open(self) -> "SourceFile":
        """The file, for reading. Reads wait, and raise Unreachable once the download has failed."""
        return SourceFile(self)


def files_of(source: Path | MediaSource) -> tuple[Path, ...]:
    """What a process must be allowed to read to open it."""
    return source.files if isinstance(source, MediaSource) else (source,)


class SourceFile(io.RawIOBase):
    """One reader."""

    def __init__(self, source: MediaSource) -> None:
        self._size = source.size
        self._at = 0
        self._piece = -1
        self._file = source.path.open("rb", buffering=0)
        self._locks = source.map.open("rb", buffering=0)
        self._words = _words(self._locks.fileno(), mmap.PROT_READ)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set where the next read begins."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"{base + offset} lies before the file's first byte")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readinto(self, buffer: object) -> int:
        """At least a byte, unless the file ends here; waits for it."""
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer, which 3.11 lacks
        if self._at >= self._size or not target:
            return 0
        count = os.preadv(self._file.fileno(), [target[: self._there()]], self._at)
        self._at += count
        return count

    def close(self) -> None:
        """Its lock goes as well."""
        if not self.closed:
            self._words.release()
            self._locks.close()
            self._file.close()
        super().close()

    def _there(self) -> int:
        piece, offset = divmod(self._at, PIECE)
        if piece != self._piece:
            self._say(piece)
        pause = _FIRST_PAUSE
        while True:
            if self._words[0] == _FAILED:
                raise Unreachable("the download of the recording has failed")
            if (filled := self._words[_STATES + piece]) > offset:
                return filled - offset
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _say(self, piece: int) -> None:
        with suppress(OSError):  # a file system without such locks: then pieces come in order
            fcntl.fcntl(self._locks, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK, piece, 1))
            if self._piece >= 0:
                fcntl.fcntl(self._locks, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, self._piece, 1))
        self._piece = piece


class Growth:
    """The downloader's side. Pieces may be filled in any order, and by several threads, one a piece."""

    def __init__(self, path: Path, size: int) -> None:
        self.source = MediaSource(path, size)
        self.pieces = -(-size // PIECE)
        self._size = size
        self._changes = threading.Lock()
        self._file = path.open("w+b", buffering=0)
        os.truncate(self._file.fileno(), size)
        self._locks = self.source.map.open("w+b", buffering=0)
        os.truncate(self._locks.fileno(), (_STATES + self.pieces) * _WORD)
        self._words = _words(self._locks.fileno(), mmap.PROT_READ | mmap.PROT_WRITE)

    def __enter__(self) -> "Growth":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more is written; readers keep what is there."""
        self._words.release()
        self._locks.close()
        self._file.close()

    def there(self, at: int) -> int:
        """How many bytes are there from `at` to the end of its piece."""
        piece, offset = divmod(at, PIECE)
        return max(self._words[_STATES + piece] - offset, 0) if piece < self.pieces else 0

    def write(self, at: int, content: bytes) -> None:
        """Bytes that follow on what is there of their piece."""
        view = memoryview(content)
        while view:
            piece, offset = divmod(at, PIECE)
            if self._words[_STATES + piece] != offset:
                raise ValueError(f"piece {piece} has {self._words[_STATES + piece]} bytes, none can begin at {offset}")
            part = view[: PIECE - offset]
            self._write(at, part)
            self._words[_STATES + piece] = offset + len(part)  # after the bytes: it is what readers go by
            at, view = at + len(part), view[len(part) :]

    def read(self, at: int, most: int) -> bytes:
        """What is there from `at` to the end of its piece."""
        return os.pread(self._file.fileno(), min(self.there(at), most), at)

    def complete(self) -> None:
        """All of it is there, and right."""
        with self._changes:
            if self._words[0] == _COMING:
                self._words[0] = _WHOLE

    def fail(self) -> None:
        """No more comes: every reader ends at its next read."""
        with self._changes:
            if self._words[0] == _COMING:
                self._words[0] = _FAILED

    def readers(self) -> list[int]:
        """The pieces where somebody reads, or waits."""
        try:
            return sorted(set(self._held(0, self.pieces)))
        except OSError:
            return []

    def _held(self, start: int, end: int) -> Iterator[int]:
        """The kernel names one lock in a range, and not the first: so both sides of it are asked for."""
        if start >= end:
            return
        answer = fcntl.fcntl(self._locks, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, start, end - start))
        kind, _, at, length, _ = _FLOCK.unpack(answer)
        if kind != fcntl.F_UNLCK:
            at = max(at, start)
            yield at
            yield from self._held(start, at)
            yield from self._held(at + max(length, 1), end)

    def _write(self, at: int, part: memoryview) -> None:
        while part:
            count = os.pwrite(self._file.fileno(), part, at)
            at, part = at + count, part[count:]


def _words(descriptor: int, protection: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=protection)).cast("I")


def _flock(kind: int, start: int, length: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
