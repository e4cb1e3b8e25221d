"""Images as manifests and configurations of layers, and as archives of one image for several architectures."""

import json
import os
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contentgen_cluster.commands import CommandError, run
from contentgen_cluster.images import references
from contentgen_cluster.images.dockerfile import configuration
from contentgen_cluster.images.layers import EPOCH, Layer
from contentgen_cluster.images.references import ImageRecipe
from contentgen_cluster.layout import Blob, Descriptor, blob, put
from contentgen_cluster.paths import REPO

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Provenance:
    """Origin of an image, for its labels. `revision`: commit, empty outside a git clone; `source`: the URL `Source` of
    pyproject.toml, empty if it has none."""

    version: str
    revision: str
    created: datetime
    source: str

    @property
    def arguments(self) -> dict[str, str]:
        """Build arguments of the Dockerfile."""
        return {
            "VERSION": self.version,
            "REVISION": self.revision,
            "CREATED": f"{self.created:%Y-%m-%dT%H:%M:%SZ}",
            "SOURCE": self.source,
        }


@dataclass(frozen=True)
class Assembled:
    """One image for one architecture; the blobs are its configuration and manifest."""

    architecture: str
    manifest: Blob
    config: Blob
    layers: Sequence[Layer]

    @property
    def descriptor(self) -> Descriptor:
        return self.manifest.descriptor | {"platform": {"architecture": self.architecture, "os": "linux"}}


def project_version(repo: Path = REPO) -> str:
    version: str = _project(repo)["version"]
    return version


def _project(repo: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    return project


def provenance(image: ImageRecipe, version: str, repo: Path = REPO) -> Provenance:
    """Origin of an image: the last commit that changed one of its files, and its time unless SOURCE_DATE_EPOCH is set.

    So a commit that changes no file of an image does not change the image.
    """
    named = [
        image.dockerfile,
        references.BASE_LOCK,
        *image.requirements,
        *image.packages,
        *image.data,
        *references.ASSEMBLY,
    ]
    try:
        revision, seconds = run("git", "-C", repo, "log", "-1", "--format=%H %ct", "--", *named).split()
        if run("git", "-C", repo, "status", "--porcelain", "--", *named):
            revision += "-modified"
    except (CommandError, ValueError):  # no git, or no clone
        revision, seconds = "", str(EPOCH)
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or seconds
    source = _project(repo).get("urls", {}).get("Source", "")
    return Provenance(version, revision, datetime.fromtimestamp(int(seconds), UTC), source)


def assemble(image: ImageRecipe, architecture: str, layers: Sequence[Layer], origin: Provenance) -> Assembled:
    """The image's configuration, from its Dockerfile, and its manifest."""
    config = configuration((REPO / image.dockerfile).read_text(), origin.arguments)
    created = origin.arguments["CREATED"]
    about = {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": f"contentgen_cluster: {layer}"} for layer in _LAYERS],
    }
    stored = blob(about, _CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": stored.descriptor,
        "layers": [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.compressed} for layer in layers],
        "annotations": config["Labels"],
    }
    return Assembled(architecture, blob(manifest, _MANIFEST), stored, layers)


_LAYERS = ("Debian packages", "Python packages", "contentgen")


def write_archive(path: Path, version: str, images: Sequence[Assembled]) -> str:
    """OCI archive of an image for several architectures; returns the digest of its index."""
    labels = json.loads(images[0].manifest.content)["annotations"]
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [each_image.descriptor for each_image in images]}
    whole = blob(index | {"annotations": labels}, _INDEX)
    named = whole.descriptor | {"annotations": {"org.opencontainers.image.ref.name": version}}
    top = blob({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [named]}, _INDEX)
    small = {each.name: each.content for image in images for each in (image.config, image.manifest)}
    files = {layer.digest: layer for image in images for layer in image.layers}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        put(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        put(archive, "index.json", top.content)
        for name, content in sorted((small | {whole.name: whole.content}).items()):
            put(archive, name, content)
        for digest, layer in sorted(files.items()):
            member = tarfile.TarInfo(f"blobs/{digest.replace(':', '/')}")
            member.size = layer.compressed
            with layer.path.open("rb") as packed:
                archive.addfile(member, packed)
    return str(whole.descriptor["digest"])


def figures(image: ImageRecipe, archive: str, assembled: Assembled) -> Mapping[str, Any]:
    """Row of images.json; sizes in bytes, `size` of the unpacked layers."""
    return {
        "name": image.title,
        "platform": f"linux/{assembled.architecture}",
        "digest": assembled.manifest.descriptor["digest"],
        "size": sum(layer.size for layer in assembled.layers),
        "compressed": sum(layer.compressed for layer in assembled.layers),
        "archive": archive,
    }
