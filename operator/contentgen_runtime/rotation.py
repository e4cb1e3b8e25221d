"""Rotation of Secrets that are mounted as files.

The kubelet replaces all files of a volume atomically: it writes a new folder and moves the symlink `..data` to it.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)
_REFRESH_SECONDS = 10.0
_RETRY_SECONDS = 30.0  # between two trials of a value that does not work
_READS = 3  # attempts, as the volume may be replaced during a read
_LINK = "..data"


def read_files(folder: Path, names: Sequence[str]) -> tuple[str, ...] | None:
    """Stripped texts of a volume's files, all of one version. None if one is missing, empty or unreadable."""
    for _ in range(_READS):
        version = _version(folder)
        texts = _texts(version, names)
        if _version(folder) == version:
            return texts
    return None


def _version(folder: Path) -> Path:
    """Folder of the current version; `folder` itself if it is not a volume of a Secret."""
    link = folder / _LINK
    return Path(os.path.realpath(link)) if link.is_symlink() else folder


def _texts(folder: Path, names: Iterable[str]) -> tuple[str, ...] | None:
    try:
        texts = tuple((folder / name).read_text(encoding="utf-8").strip() for name in names)
    except (OSError, UnicodeDecodeError):
        return None
    return texts if all(texts) else None


class Refreshed(Protocol):
    """Client that uses a mounted Secret."""

    def refresh(self) -> None:
        """Use the newest version of the Secret. May block on the network; raises nothing."""
        ...


class Rotated(Generic[T]):
    """Value of a Secret in use. A new value replaces it after a successful trial.

    `use` tries a value and puts it into use; it raises if the value does not work. Then the previous value stays in
    use: a new password may be in the Secret before the server accepts it.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], T | None],
        use: Callable[[T], None],
        *,
        in_use: T | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._read = read
        self._use = use
        self._in_use = in_use
        self._clock = clock
        self._refused: T | None = None
        self._retry_at = -math.inf
        self._unreadable = False

    def refresh(self) -> None:
        """See `Refreshed`."""
        found = self._read()
        if found is None:
            self._note_unreadable()
            return
        self._unreadable = False
        if found == self._in_use:
            self._refused = None
        elif found != self._refused or self._clock() >= self._retry_at:
            self._try(found)

    def _try(self, found: T) -> None:
        try:
            self._use(found)
        # Each client raises errors of its own for a bad value.
        except Exception as error:  # noqa: BLE001
            # Without the error's text, which may contain the value.
            if found != self._refused:
                _log.warning(
                    "%s: the Secret has a new value that does not work (%s); the one before stays in use, and the new"
                    " one is tried again",
                    self._name,
                    type(error).__name__,
                )
            self._refused, self._retry_at = found, self._clock() + _RETRY_SECONDS
        else:
            self._in_use, self._refused = found, None
            _log.info("%s: the Secret's new value is in use", self._name)

    def _note_unreadable(self) -> None:
        if not self._unreadable:
            _log.warning("%s: the Secret's files are missing, empty or unreadable", self._name)
        self._unreadable = True


async def keep_fresh(clients: Sequence[Refreshed]) -> None:
    """Refresh until cancelled, each client in a thread. The kubelet updates files in 2 minutes; this adds 10 s."""
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        for client in clients:
            await asyncio.to_thread(client.refresh)
