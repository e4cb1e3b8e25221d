"""Content cache: each entry is named by the hash of its inputs."""

import hashlib
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

KEPT = 4  # entries per kind; several, so that clones at different commits do not evict each other's


def content_key(*parts: str | Path) -> str:
    """Hash of texts, and of files and folders by relative name, execute bit and content."""
    digest = hashlib.sha256()
    for part in parts:
        for field in _fields(part):
            digest.update(len(field).to_bytes(8, "big") + field)
    return digest.hexdigest()[:16]


def _fields(part: str | Path) -> Iterable[bytes]:
    if isinstance(part, str):
        yield part.encode()
        return
    for file in files_of(part):
        name = file.relative_to(part.parent)
        yield f"{name}{'*' if os.access(file, os.X_OK) else ''}".encode()
        yield file.read_bytes()


def files_of(path: Path) -> list[Path]:
    """The file itself, or the sorted files of a folder without caches of tools."""
    if not path.is_dir():
        return [path]
    found = (each_path for each_path in path.rglob("*") if each_path.is_file())
    left_by_tools = {"__pycache__", "target"}
    return sorted(each for each in found if not left_by_tools.intersection(each.relative_to(path).parts))


def size(path: Path) -> str:
    """Formatted size of a file or folder."""
    return f"{sum(each.stat().st_size for each in files_of(path)) / 2**20:.1f} MB"


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive that we made, or whose checksum is known. Python before 3.11.4, such as Debian 12's, has no
    filters, and from 3.14 on the default filter changes modes.
    """
    with tarfile.open(archive) as opened:
        if hasattr(tarfile, "fully_trusted_filter"):
            opened.extraction_filter = staticmethod(tarfile.fully_trusted_filter)
        opened.extractall(folder)  # noqa: S202 - made by us, or verified


class ContentCache:
    """Content cache; `entry` creates missing entries atomically."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()

    def path(self, name: str, key: str) -> Path:
        return self.root / name / key

    def entry(self, name: str, key: str, make: Callable[[Path], object]) -> Path:
        """Path of the entry `name/key`, created by `make(path)` if it is missing."""
        path = self.path(name, key)
        with self._guard:
            lock = self._locks.setdefault(path, threading.Lock())
        with lock:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = path.with_name(f"{key}.unfinished-{os.getpid()}")
                _remove(unfinished)
                make(unfinished)
                unfinished.rename(path)
                self._drop_old(path)
            os.utime(path)
        return path

    def _drop_old(self, newest: Path) -> None:
        others = [
            each_path
            for each_path in newest.parent.iterdir()
            if each_path != newest and ".unfinished-" not in each_path.name
        ]
        for path in sorted(others, key=lambda each: each.stat().st_mtime, reverse=True)[KEPT - 1 :]:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
