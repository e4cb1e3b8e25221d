"""OCI image layouts as tar archives: writing and reading them (image-spec, image-layout.md)."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from contentgen_release.errors import ReleaseError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_REFERENCE = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 1 << 20

Descriptor = dict[str, Any]
Blob = tuple[int, Callable[[], AbstractContextManager[IO[bytes]]]]
"""Size in bytes, and a function that opens the content."""


def encoded(value: object) -> bytes:
    """JSON without spaces and with sorted keys."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def digest_of(content: bytes) -> str:
    """OCI digest of a blob."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, media_type: str) -> Descriptor:
    """Descriptor of a blob."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def write_artifact(
    path: Path, tag: str, *, config: tuple[bytes, str], layer: tuple[bytes, str], annotations: Mapping[str, Any]
) -> str:
    """Write an archive with an artifact of one layer; returns the digest of its manifest.

    `config` and `layer` are content and media type; `annotations` are `manifest` and `layer`, both optional.
    """
    about = descriptor(*layer)
    if "layer" in annotations:
        about["annotations"] = annotations["layer"]
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(*config),
        "layers": [about],
    }
    if "manifest" in annotations:
        manifest["annotations"] = annotations["manifest"]
    content = encoded(manifest)
    blobs = {digest_of(each): _memory(each) for each in (content, config[0], layer[0])}
    _write(path, descriptor(content, MANIFEST), tag, blobs)
    return digest_of(content)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Descriptor, dict[str, Blob]]]:
    """Descriptor of the only entry of an archive, and its blobs by digest. Raises ReleaseError for another content."""
    with tarfile.open(path) as archive:
        members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        if "index.json" not in members:
            raise ReleaseError(f"{path.name} is not an OCI layout: it has no index.json")
        entries = json.loads(_content(archive, members["index.json"]).read())["manifests"]
        if len(entries) != 1:
            raise ReleaseError(f"{path.name} has {len(entries)} entries: expected one")
        blobs: dict[str, Blob] = {}
        for name, member in members.items():
            if name.startswith("blobs/"):
                digest = name.removeprefix("blobs/").replace("/", ":")
                blobs[digest] = (member.size, partial(_content, archive, member))
        yield entries[0], blobs


def verify(path: Path) -> Descriptor:
    """Descriptor of an archive's only entry, after all its blobs were compared with their digests, and every blob
    that a manifest names was found. Raises ReleaseError."""
    with opened(path) as (entry, blobs):
        for digest, (_, content) in blobs.items():
            hasher = hashlib.sha256()
            with content() as stream:
                while chunk := stream.read(_CHUNK):
                    hasher.update(chunk)
            if f"sha256:{hasher.hexdigest()}" != digest:
                raise ReleaseError(f"{path.name}: a blob differs from its digest {digest}")
        for digest in _reachable(entry, blobs, path):
            if digest not in blobs:
                raise ReleaseError(f"{path.name} lacks the blob {digest}")
        return entry


def _reachable(entry: Descriptor, blobs: Mapping[str, Blob], path: Path) -> Iterator[str]:
    yield entry["digest"]
    if entry["digest"] not in blobs or entry["mediaType"] not in {INDEX, MANIFEST}:
        return
    content = json_blob(blobs, entry["digest"])
    parts = content.get("manifests") or [content["config"], *content["layers"]]
    for part in parts:
        yield from _reachable(part, blobs, path)


def json_blob(blobs: Mapping[str, Blob], digest: str) -> Any:
    """Parsed content of a blob."""
    with blobs[digest][1]() as content:
        return json.load(content)


def _write(path: Path, entry: Descriptor, tag: str, blobs: Mapping[str, Blob]) -> None:
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry | {"annotations": {_REFERENCE: tag}}]}
    files = {"oci-layout": _memory(_LAYOUT), "index.json": _memory(encoded(index))}
    files |= {f"blobs/{digest.replace(':', '/')}": blob for digest, blob in sorted(blobs.items())}
    with tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, (size, content) in files.items():
            member = tarfile.TarInfo(name)
            member.size = size
            with content() as stream:
                archive.addfile(member, stream)


def _memory(content: bytes) -> Blob:
    return len(content), lambda: io.BytesIO(content)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise ReleaseError(f"{member.name} is not a file")
    return stream
