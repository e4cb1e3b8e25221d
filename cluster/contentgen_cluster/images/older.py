"""Images of an older release, built from its archived sources for tests of the upgrade."""

import tarfile
from dataclasses import replace
from pathlib import Path

from contentgen_cluster.cache import ContentCache, content_key
from contentgen_cluster.commands import ClusterError
from contentgen_cluster.images.references import OPERATOR, WORKER, ImageRecipe
from contentgen_cluster.paths import RELEASES

_MODULES = {"contentgen": "contentgen_gateway.commands"}
"""Modules of programs that have another name today."""


def sources(cache: ContentCache, commit: str) -> Path:
    """Unpacked sources of a release; its chart is in `charts/contentgen`."""
    archive = RELEASES / f"{commit}.tar.xz"
    if not archive.exists():
        raise ClusterError(f"{RELEASES} has no archive of {commit}")

    def unpack(target: Path) -> None:
        with tarfile.open(archive) as packed:
            packed.extractall(target, filter="data")

    return cache.entry("older-release", content_key(archive), unpack) / commit


def recipes(cache: ContentCache, commit: str) -> tuple[ImageRecipe, ...]:
    """The release's operator and worker image, by names that end with the commit.

    Their base layer and configuration are today's, because the release's own need an image registry.
    """
    root = sources(cache, commit)
    return tuple(
        replace(image, name=f"{image.name}-{commit}", scripts=_scripts(image), root=root)
        for image in (OPERATOR, WORKER)
    )


def _scripts(image: ImageRecipe) -> dict[str, str]:
    return {name: _MODULES.get(name, module) for name, module in image.scripts.items()}
