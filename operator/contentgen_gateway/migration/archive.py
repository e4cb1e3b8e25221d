"""Backup archive: a JSON Lines file for each part and a manifest with counts and checksums, in a folder or a tar.

    manifest.json   {"format", "version", "createdAt", "bucket", "parts": {NAME: {"documents", "sha256"}}}
    NAME.jsonl      one document per line, MongoDB's relaxed extended JSON

Reading verifies all parts against the manifest first.
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
VERSION = 2  # 1 has other names for what blocks a payment: read here, they would block none
_OPTIONS = json_util.RELAXED_JSON_OPTIONS
_MEMBER = re.compile(r"(manifest\.json|[a-z_-]+\.jsonl)")
_MAX_IN_MEMORY = 64 * 2**20  # bytes of a part; larger ones are written to a temporary file
STDIO = "-"
"""Path that means standard output or standard input."""


class BadArchive(Exception):
    """The archive is not a backup of this project, or is incomplete or damaged."""


@dataclass(frozen=True, slots=True)
class ArchivePart:
    """Manifest entry of one file: number of documents, and the SHA-256 of the file in hex."""

    documents: int
    sha256: str


class ArchiveWriter:
    """Writes parts into a folder or a tar. The manifest is written last, so an archive that has one is complete."""

    def __init__(self, folder: Path | None, tar: tarfile.TarFile | None) -> None:
        self._folder, self._tar = folder, tar
        self.parts: dict[str, ArchivePart] = {}

    def write(self, name: str, documents: Iterable[Mapping[str, Any]]) -> int:
        """Write one part. Returns its number of documents."""
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
        parts = {name: {"documents": part.documents, "sha256": part.sha256} for name, part in self.parts.items()}
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
    """A new archive: a tar for `-`, `.tar` and `.tgz` (with `gz` at the end: compressed), else a new folder."""
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
    """A complete archive, verified against its manifest. Raises BadArchive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.manifest = _manifest(folder)
        self.parts = {
            name: ArchivePart(each_part["documents"], each_part["sha256"])
            for name, each_part in self.manifest["parts"].items()
        }
        for name, part in self.parts.items():
            _verify(folder / f"{name}.jsonl", part)

    def read(self, name: str) -> Iterator[Document]:
        """The documents of a part; empty if the archive does not have it."""
        if name in self.parts:
            with (self._folder / f"{name}.jsonl").open("rb") as lines:
                for line in lines:
                    yield json_util.loads(line, json_options=_OPTIONS)


@contextmanager
def open_archive(source: str) -> Iterator[ArchiveReader]:
    """An archive that `create_archive` has written. Raises BadArchive."""
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
                raise BadArchive(f"{member.name!r} is not part of a backup")
            with (folder / name).open("wb") as file:
                while chunk := content.read(2**20):
                    file.write(chunk)


def _manifest(folder: Path) -> Document:
    try:
        manifest: Document = json.loads((folder / "manifest.json").read_bytes())
        known = manifest["format"] == FORMAT and isinstance(manifest["parts"], dict)
        version = int(manifest["version"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadArchive("valid manifest missing: the backup was interrupted, or this is not a backup") from None
    if not known or version != VERSION:
        raise BadArchive(f"unsupported: {manifest['format']} of version {version}; only version {VERSION} is supported")
    if not all(_MEMBER.fullmatch(f"{name}.jsonl") for name in manifest["parts"]):
        raise BadArchive("invalid name of a part in the manifest")
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
        raise BadArchive(f"{path.name} does not match the manifest: {lines} documents of {part.documents}")
