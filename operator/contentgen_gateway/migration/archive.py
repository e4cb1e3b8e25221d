"""A backup as files: JSON lines for each part and a manifest with counts and checksums, in a folder or in a tar.

    manifest.json   {"format", "version", "createdAt", "bucket", "parts": {NAME: {"documents", "sha256"}}}
    NAME.jsonl      one document a line, MongoDB's relaxed extended JSON

Nothing is read out of an archive that does not fit its manifest.
"""

import hashlib
import io
import json
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from bson import json_util

Document = dict[str, Any]
FORMAT = "contentgen-backup"
VERSION = 1
_OPTIONS = json_util.RELAXED_JSON_OPTIONS
_MEMBER = re.compile(r"(manifest\.json|[a-z_-]+\.jsonl)")
_MAX_IN_MEMORY = 64 * 2**20  # bytes of a part that stay in memory
STDIO = "-"
"""Instead of a path: standard output, or standard input."""


class BadArchive(Exception):
    """It is no backup of ours, or not whole."""


@dataclass(frozen=True, slots=True)
class ArchivePart:
    """What the manifest says of one file."""

    documents: int
    sha256: str


class ArchiveWriter:
    """Writes parts into a folder or a tar; the manifest comes last, so what has one is whole."""

    def __init__(self, folder: Path | None, tar: tarfile.TarFile | None) -> None:
        self._folder, self._tar = folder, tar
        self.parts: dict[str, ArchivePart] = {}

    def write(self, name: str, documents: Iterable[Mapping[str, Any]]) -> int:
        """One part; how many documents it has."""
        digest, count = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(_MAX_IN_MEMORY) as spooled:
            for document in documents:
                line = json_util.dumps(document, json_options=_OPTIONS, ensure_ascii=False).encode() + b"\n"
                digest.update(line)
                spooled.write(line)
                count += 1
            self._store(f"{name}.jsonl", spooled)
        self.parts[name] = ArchivePart(count, digest.hexdigest())
        return count

    def close(self, created_at: datetime, bucket: str) -> None:
        """Write the manifest."""
        parts = {name: {"documents": each.documents, "sha256": each.sha256} for name, each in self.parts.items()}
        manifest = {"format": FORMAT, "version": VERSION, "createdAt": created_at.isoformat(), "bucket": bucket}
        self._store("manifest.json", io.BytesIO(json.dumps(manifest | {"parts": parts}, indent=2).encode()))

    def _store(self, name: str, content: Any) -> None:
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        if self._tar is not None:
            member = tarfile.TarInfo(name)
            member.size, member.mode = size, 0o600
            self._tar.addfile(member, content)
        if self._folder is not None:
            with (self._folder / name).open("wb") as file:
                while chunk := content.read(2**20):
                    file.write(chunk)


@contextmanager
def create_archive(target: str) -> Iterator[ArchiveWriter]:
    """A new archive: a tar for `-` and names with `.tar` in them (`.gz`: compressed), else a folder that is new."""
    if target == STDIO:
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
            yield ArchiveWriter(None, tar)
    elif ".tar" in Path(target).suffixes or target.endswith(".tgz"):
        with tarfile.open(target, "w:gz" if target.endswith("gz") else "w") as tar:
            yield ArchiveWriter(None, tar)
    else:
        folder = Path(target)
        folder.mkdir(mode=0o700, parents=True)
        yield ArchiveWriter(folder, None)


class ArchiveReader:
    """A whole archive: everything in it has been compared with its manifest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.manifest = _manifest(folder)
        self.parts = {
            name: ArchivePart(each["documents"], each["sha256"]) for name, each in self.manifest["parts"].items()
        }
        for name, part in self.parts.items():
            _verify(folder / f"{name}.jsonl", part)

    def read(self, name: str) -> Iterator[Document]:
        """The documents of a part; none where the archive has no such part."""
        if name in self.parts:
            with (self._folder / f"{name}.jsonl").open("rb") as lines:
                for line in lines:
                    yield json_util.loads(line, json_options=_OPTIONS)


@contextmanager
def open_archive(source: str) -> Iterator[ArchiveReader]:
    """An archive as `create_archive` makes them. Raises BadArchive."""
    if source != STDIO and Path(source).is_dir():
        yield ArchiveReader(Path(source))
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            if source == STDIO:
                _unpack(sys.stdin.buffer, Path(folder))
            else:
                with Path(source).open("rb") as file:
                    _unpack(file, Path(folder))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BadArchive(f"{source}: {error}") from error
        yield ArchiveReader(Path(folder))


def _unpack(stream: IO[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or not _MEMBER.fullmatch(name):
                if member.isdir():
                    continue
                raise BadArchive(f"{member.name!r} belongs to no backup")
            with (folder / name).open("wb") as file:
                while chunk := content.read(2**20):
                    file.write(chunk)


def _manifest(folder: Path) -> Document:
    try:
        manifest: Document = json.loads((folder / "manifest.json").read_bytes())
        known = manifest["format"] == FORMAT and isinstance(manifest["parts"], dict)
        version = int(manifest["version"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadArchive("it has no manifest of ours: a backup that did not come to its end has none") from None
    if not known or version > VERSION:
        raise BadArchive(f"it is a {manifest['format']} of version {version}; up to {VERSION} can be read")
    if not all(_MEMBER.fullmatch(f"{name}.jsonl") for name in manifest["parts"]):
        raise BadArchive("its manifest names what is no part")
    return manifest


def _verify(path: Path, part: ArchivePart) -> None:
    try:
        digest, lines = hashlib.sha256(), 0
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                lines += 1
    except OSError:
        raise BadArchive(f"{path.name} is missing") from None
    if (lines, digest.hexdigest()) != (part.documents, part.sha256):
        raise BadArchive(f"{path.name} is not what the manifest says: {lines} documents of {part.documents}")
