"""OCI image layouts: a folder of blobs named by their hash, and an index of images by reference.

All images share one layout in the content cache, so that the base is stored once, and blobs that the node's
containerd has are not sent again.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from contentgen_cluster.commands import ClusterError

_REFERENCE = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"

Descriptor = dict[str, Any]


@dataclass(frozen=True)
class Blob:
    """Small blob in memory: a manifest, a configuration or an index."""

    content: bytes
    descriptor: Descriptor

    @property
    def name(self) -> str:
        """Path in a layout or an archive."""
        return f"blobs/{self.descriptor['digest'].replace(':', '/')}"


class Layout:
    """One OCI layout folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changing = threading.RLock()  # lock for changes of the index, also by another program

    def manifest(self, reference: str) -> Descriptor | None:
        """The descriptor of an image's manifest."""
        for entry in self._entries():
            if _reference_of(entry) == reference:
                return entry
        return None

    def has(self, reference: str) -> bool:
        found = self.manifest(reference)
        return found is not None and all(self.blob(digest).exists() for digest in self._parts(found))

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def add(self, reference: str, layer: IO[bytes], config: Mapping[str, object]) -> None:
        """Add an image with one layer (an uncompressed tar) and this container `config`."""
        with self.changing:
            self._add(reference, layer, config)

    def add_program(self, reference: str, program: Path) -> None:
        """Add an image that contains one static program."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo("program")
            member.size, member.mode = program.stat().st_size, 0o755
            with program.open("rb") as content:
                archive.addfile(member, content)
        packed.seek(0)
        self.add(reference, packed, {"Entrypoint": ["/program"]})

    def _add(self, reference: str, layer: IO[bytes], config: Mapping[str, object]) -> None:
        layer_blob = self._write(layer.read(), _LAYER)
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer_blob["digest"]]},
            "history": [{"created_by": "contentgen_cluster"}],
        }
        config_blob = self._write(_json(image), _CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config_blob, "layers": [layer_blob]}
        entry = self._write(_json(manifest), _MANIFEST) | {"annotations": {_REFERENCE: reference}}
        self._set(reference, entry)

    def _set(self, reference: str, entry: Descriptor) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self._write_index(
            [*(each_entry for each_entry in self._entries() if _reference_of(each_entry) != reference), entry]
        )

    def add_image(self, reference: str, config: Blob, manifest: Blob, layers: Mapping[str, Path]) -> None:
        """Add an image of compressed layers, whose files are given by digest."""
        with self.changing:
            for digest, path in layers.items():
                if not (target := self.blob(digest)).exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    unfinished = target.with_name(f"{target.name}.unfinished")
                    _link_or_copy(path, unfinished)
                    unfinished.rename(target)
            for each in (config, manifest):
                path = self.blob(each.descriptor["digest"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(each.content)
            entry = manifest.descriptor | {"annotations": {_REFERENCE: reference}}
            self._set(reference, entry)

    def archive(self, reference: str, known: Collection[str], to: IO[bytes]) -> int:
        """Write an archive for containerd without the blobs that it has; returns the bytes of the archived blobs."""
        found = self.manifest(reference)
        if found is None:
            raise ClusterError(f"{reference} was not built")
        named = {name: found[name] for name in ("mediaType", "digest", "size")}
        named["annotations"] = {_CONTAINERD_NAME: reference}
        # The manifest and the config always go: the import reads them before it looks at what is known.
        manifest = json.loads(self.blob(found["digest"]).read_bytes())
        needed = {found["digest"], manifest["config"]["digest"]}
        needed |= {layer["digest"] for layer in manifest["layers"]} - set(known)
        with tarfile.open(fileobj=to, mode="w|") as archive:
            put(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [named]}
            put(archive, "index.json", _json(index))
            for digest in sorted(needed):
                archive.add(self.blob(digest), f"blobs/{digest.replace(':', '/')}", recursive=False)
        return sum(self.blob(digest).stat().st_size for digest in needed)

    def keep_newest(self, count: int) -> None:
        """Delete all but the newest images of each repository, and unreferenced blobs."""
        with self.changing:
            kept: list[Descriptor] = []
            seen: Counter[str] = Counter()
            for entry in reversed(self._entries()):
                repository = _reference_of(entry).rpartition(":")[0]
                seen[repository] += 1
                if seen[repository] <= count:
                    kept.insert(0, entry)
            self._write_index(kept)
            used = {digest for entry in kept for digest in self._parts(entry)}
            for blob in (self.folder / "blobs/sha256").iterdir():
                if f"sha256:{blob.name}" not in used:
                    blob.unlink()

    def size(self, reference: str) -> int:
        """Size of an image's blobs in bytes."""
        found = self.manifest(reference)
        return sum(self.blob(digest).stat().st_size for digest in self._parts(found)) if found else 0

    def _parts(self, entry: Descriptor) -> list[str]:
        path = self.blob(entry["digest"])
        if not path.exists():
            return [entry["digest"]]
        manifest = json.loads(path.read_bytes())
        return [entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    def _entries(self) -> list[Descriptor]:
        try:
            entries: list[Descriptor] = json.loads((self.folder / "index.json").read_bytes())["manifests"]
        except FileNotFoundError:
            return []
        return entries

    def _write_index(self, entries: list[Descriptor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / "index.json.unfinished"
        unfinished.write_bytes(_json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}))
        unfinished.rename(self.folder / "index.json")

    def _write(self, content: bytes, kind: str) -> Descriptor:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = self.blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"mediaType": kind, "digest": digest, "size": len(content)}


def _reference_of(entry: Descriptor) -> str:
    reference: str = entry.get("annotations", {}).get(_REFERENCE, "")
    return reference


def blob(value: object, kind: str) -> Blob:
    """JSON blob of a media type, the same bytes for equal values."""
    content = _json(value)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Blob(content, {"mediaType": kind, "digest": digest, "size": len(content)})


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    with suppress(OSError):  # another file system
        os.link(source, target)
        return
    shutil.copyfile(source, target)


def put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file with content to an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
