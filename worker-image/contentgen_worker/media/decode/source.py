"""Recording that can be decoded while it is downloaded.

The downloader writes a sparse file and a map of the bytes received per chunk. Readers, in any process, open both
read-only; a read of missing bytes waits. A reader marks its position by a shared lock on the map, which needs no write
permission and ends with the process; the downloader queries these locks and fetches those chunks first.
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

CHUNK_BYTES = 1 << 20  # each chunk is filled from its beginning
_IN_PROGRESS, _COMPLETE, _FAILED = range(3)
_STATE_WORDS = 1  # words of the map before those of the chunks
_WORD_BYTES = 4  # per chunk: the number of bytes present
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # seconds between polls of a waiting reader
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, process


@dataclass(frozen=True, slots=True)
class MediaSource:
    """File of `size` bytes that is or was downloaded. Can be pickled to other processes."""

    path: Path
    size: int

    @property
    def chunk_map(self) -> Path:
        """Path of the map: bytes received of each chunk."""
        return self.path.with_name(f"{self.path.name}.map")

    @property
    def files(self) -> tuple[Path, Path]:
        """Paths that a reader must be allowed to read."""
        return self.path, self.chunk_map

    @property
    def complete(self) -> bool:
        """Whether the download is complete, and its checksum correct if one was given."""
        with self.chunk_map.open("rb") as file:
            return int.from_bytes(file.read(_WORD_BYTES), "little") == _COMPLETE

    def open(self) -> "SourceFile":
        """File for reading. Reads wait for missing bytes, and raise Unreachable once the download has failed."""
        return SourceFile(self)


def source_files(source: Path | MediaSource) -> tuple[Path, ...]:
    """Paths that a process must be allowed to read to open the source."""
    return source.files if isinstance(source, MediaSource) else (source,)


class SourceFile(io.RawIOBase):
    """Read-only file object of one reader."""

    def __init__(self, source: MediaSource) -> None:
        self._size = source.size
        self._position = 0
        self._locked_chunk = -1
        self._file = source.path.open("rb", buffering=0)
        self._map_file = source.chunk_map.open("rb", buffering=0)
        self._map = _map(self._map_file.fileno(), mmap.PROT_READ)

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set and return the position. Raises ValueError below 0."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"{base + offset} is a negative position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Position of the next read."""
        return self._position

    def readinto(self, buffer: object) -> int:
        """Read at least one byte, waiting for it; 0 at the end. Raises Unreachable if the download has failed."""
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer, which 3.11 lacks
        if self._position >= self._size or not target:
            return 0
        count = os.preadv(self._file.fileno(), [target[: self._available()]], self._position)
        self._position += count
        return count

    def close(self) -> None:
        """Close the file and release its lock."""
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
        with suppress(OSError):  # no open file description locks: chunks are fetched in order
            fcntl.fcntl(self._map_file, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK, chunk, 1))
            if self._locked_chunk >= 0:
                fcntl.fcntl(self._map_file, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, self._locked_chunk, 1))
        self._locked_chunk = chunk


class SparseFile:
    """Downloader's side. Chunks may be written in any order and by several threads, one per chunk."""

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
        """Close the file; readers keep access to what is there."""
        self._map.release()
        self._map_file.close()
        self._file.close()

    def available(self, offset: int) -> int:
        """Bytes available from `offset` to the end of its chunk."""
        chunk, start = divmod(offset, CHUNK_BYTES)
        return max(self._map[_STATE_WORDS + chunk] - start, 0) if chunk < self.chunk_count else 0

    def write(self, offset: int, content: bytes) -> None:
        """Write bytes that follow those present in their chunk. Raises ValueError if they don't."""
        view = memoryview(content)
        while view:
            chunk, start = divmod(offset, CHUNK_BYTES)
            if self._map[_STATE_WORDS + chunk] != start:
                raise ValueError(
                    f"chunk {chunk} has {self._map[_STATE_WORDS + chunk]} bytes, can't continue at {start}"
                )
            data = view[: CHUNK_BYTES - start]
            self._write(offset, data)
            self._map[_STATE_WORDS + chunk] = start + len(data)  # after the bytes, since readers rely on it
            offset, view = offset + len(data), view[len(data) :]

    def read(self, offset: int, max_bytes: int) -> bytes:
        """Bytes available from `offset` to the end of its chunk, at most `max_bytes`."""
        return os.pread(self._file.fileno(), min(self.available(offset), max_bytes), offset)

    def complete(self) -> None:
        """Mark the file as complete and verified."""
        with self._state_lock:
            if self._map[0] == _IN_PROGRESS:
                self._map[0] = _COMPLETE

    def fail(self) -> None:
        """Mark the download as failed: each reader raises at its next read of missing bytes."""
        with self._state_lock:
            if self._map[0] == _IN_PROGRESS:
                self._map[0] = _FAILED

    def reader_chunks(self) -> list[int]:
        """Chunks at which readers are; empty if the file system has no such locks."""
        try:
            return sorted(set(self._locked_chunks(0, self.chunk_count)))
        except OSError:
            return []

    def _locked_chunks(self, start: int, end: int) -> Iterator[int]:
        """Locked chunks of a range. The kernel reports one lock, not the first: both sides of it are queried again."""
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
