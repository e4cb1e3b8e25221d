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

CHUNK_BYTES = 1 << 20  # bytes; each is filled from its beginning
_IN_PROGRESS, _COMPLETE, _FAILED = range(3)
_STATE_WORDS = 1  # words of the map before those of the pieces
_WORD_BYTES = 4  # bytes: of each piece, how many are there
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # seconds, of a reader that waits
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, process


@dataclass(frozen=True, slots=True)
class MediaSource:
    """A file of `size` bytes that is coming, or came. Goes to other processes as it is."""

    path: Path
    size: int

    @property
    def chunk_map(self) -> Path:
        """What of it is there."""
        return self.path.with_name(f"{self.path.name}.map")

    @property
    def files(self) -> tuple[Path, Path]:
        """What a reader must be allowed to read."""
        return self.path, self.chunk_map

    @property
    def complete(self) -> bool:
        """Nothing is missing, and its checksum is right where one was given."""
        with self.chunk_map.open("rb") as file:
            return int.from_bytes(file.read(_WORD_BYTES), "little") == _COMPLETE

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
        self._position = 0
        self._locked_chunk = -1
        self._file = source.path.open("rb", buffering=0)
        self._map_file = source.chunk_map.open("rb", buffering=0)
        self._map = _map(self._map_file.fileno(), mmap.PROT_READ)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set where the next read begins."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"{base + offset} lies before the file's first byte")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def readinto(self, buffer: object) -> int:
        """At least a byte, unless the file ends here; waits for it."""
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer, which 3.11 lacks
        if self._position >= self._size or not target:
            return 0
        count = os.preadv(self._file.fileno(), [target[: self._available()]], self._position)
        self._position += count
        return count

    def close(self) -> None:
        """Its lock goes as well."""
        if not self.closed:
            self._map.release()
            self._map_file.close()
            self._file.close()
        super().close()

    def _available(self) -> int:
        chunk, offset = divmod(self._position, CHUNK_BYTES)
        if chunk != self._locked_chunk:
            self._lock_chunk(chunk)
        pause = _FIRST_PAUSE
        while True:
            if self._map[0] == _FAILED:
                raise Unreachable("the download of the recording has failed")
            if (filled := self._map[_STATE_WORDS + chunk]) > offset:
                return filled - offset
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _lock_chunk(self, chunk: int) -> None:
        with suppress(OSError):  # a file system without such locks: then pieces come in order
            fcntl.fcntl(self._map_file, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK, chunk, 1))
            if self._locked_chunk >= 0:
                fcntl.fcntl(self._map_file, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, self._locked_chunk, 1))
        self._locked_chunk = chunk


class SparseFile:
    """The downloader's side. Pieces may be filled in any order, and by several threads, one a piece."""

    def __init__(self, path: Path, size: int) -> None:
        self.source = MediaSource(path, size)
        self.chunk_count = -(-size // CHUNK_BYTES)
        self._size = size
        self._state_lock = threading.Lock()
        self._file = path.open("w+b", buffering=0)
        os.truncate(self._file.fileno(), size)
        self._map_file = self.source.chunk_map.open("w+b", buffering=0)
        os.truncate(self._map_file.fileno(), (_STATE_WORDS + self.chunk_count) * _WORD_BYTES)
        self._map = _map(self._map_file.fileno(), mmap.PROT_READ | mmap.PROT_WRITE)

    def __enter__(self) -> "SparseFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more is written; readers keep what is there."""
        self._map.release()
        self._map_file.close()
        self._file.close()

    def available(self, offset: int) -> int:
        """How many bytes are there from `offset` to the end of its piece."""
        chunk, start = divmod(offset, CHUNK_BYTES)
        return max(self._map[_STATE_WORDS + chunk] - start, 0) if chunk < self.chunk_count else 0

    def write(self, offset: int, content: bytes) -> None:
        """Bytes that follow on what is there of their piece."""
        view = memoryview(content)
        while view:
            chunk, start = divmod(offset, CHUNK_BYTES)
            if self._map[_STATE_WORDS + chunk] != start:
                raise ValueError(
                    f"piece {chunk} has {self._map[_STATE_WORDS + chunk]} bytes, none can begin at {start}"
                )
            data = view[: CHUNK_BYTES - start]
            self._write(offset, data)
            self._map[_STATE_WORDS + chunk] = start + len(data)  # after the bytes: it is what readers go by
            offset, view = offset + len(data), view[len(data) :]

    def read(self, offset: int, max_bytes: int) -> bytes:
        """What is there from `offset` to the end of its piece."""
        return os.pread(self._file.fileno(), min(self.available(offset), max_bytes), offset)

    def complete(self) -> None:
        """All of it is there, and right."""
        with self._state_lock:
            if self._map[0] == _IN_PROGRESS:
                self._map[0] = _COMPLETE

    def fail(self) -> None:
        """No more comes: every reader ends at its next read."""
        with self._state_lock:
            if self._map[0] == _IN_PROGRESS:
                self._map[0] = _FAILED

    def reader_chunks(self) -> list[int]:
        """The pieces where somebody reads, or waits."""
        try:
            return sorted(set(self._locked_chunks(0, self.chunk_count)))
        except OSError:
            return []

    def _locked_chunks(self, start: int, end: int) -> Iterator[int]:
        """The kernel names one lock in a range, and not the first: so both sides of it are asked for."""
        if start >= end:
            return
        answer = fcntl.fcntl(self._map_file, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, start, end - start))
        kind, _, offset, length, _ = _FLOCK.unpack(answer)
        if kind != fcntl.F_UNLCK:
            offset = max(offset, start)
            yield offset
            yield from self._locked_chunks(start, offset)
            yield from self._locked_chunks(offset + max(length, 1), end)

    def _write(self, offset: int, data: memoryview) -> None:
        while data:
            count = os.pwrite(self._file.fileno(), data, offset)
            offset, data = offset + count, data[count:]


def _map(descriptor: int, protection: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=protection)).cast("I")


def _flock(kind: int, start: int, length: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
