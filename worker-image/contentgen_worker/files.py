"""Output file before upload: its name under the stage's prefix and its content, in memory or on disk."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contentgen_contract.worker.orders import FileOffer, StoredFile

_CHUNK = 1 << 20
JPEG, PNG, JSON, TEXT = "image/jpeg", "image/png", "application/json", "text/plain"


@dataclass(frozen=True)
class Output:
    """File to store. `content`: bytes, or a path for large files."""

    name: str
    content_type: str
    size_bytes: int
    sha256: str
    content: bytes | Path

    @classmethod
    def from_bytes(cls, name: str, content_type: str, content: bytes) -> "Output":
        """Small file, kept in memory."""
        return cls(name, content_type, len(content), hashlib.sha256(content).hexdigest(), content)

    @classmethod
    def from_path(cls, name: str, content_type: str, path: Path) -> "Output":
        """File on disk; each try reads it again."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(name, content_type, path.stat().st_size, digest, path)

    @property
    def offer(self) -> FileOffer:
        """Name, size, sha256 and type, for which the worker API signs a PUT."""
        return FileOffer(name=self.name, size_bytes=self.size_bytes, sha256=self.sha256, content_type=self.content_type)

    @property
    def stored(self) -> StoredFile:
        """Entry of the outcome's file list."""
        return StoredFile.model_validate(self.offer.model_dump())

    def body(self) -> bytes | Iterator[bytes]:
        """Request body of one PUT; files on disk are streamed."""
        return self.content if isinstance(self.content, bytes) else _chunks(self.content)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
