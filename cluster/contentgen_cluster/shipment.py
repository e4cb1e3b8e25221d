"""Images for registries: one OCI archive per image, for several platforms, and images.json with their figures."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from contentgen_cluster.cache import ContentCache
from contentgen_cluster.commands import ClusterError
from contentgen_cluster.images import references, sandbox_inputs
from contentgen_cluster.images.assembly import assemble, figures, provenance, write_archive
from contentgen_cluster.images.debian import ARCHITECTURES
from contentgen_cluster.images.layers import Layers
from contentgen_cluster.images.references import SANDBOX, ImageRecipe
from contentgen_cluster.steps import BuildStep


class Shipment:
    """The archives of one version in one folder, with the vision image if there is a `model`.

    Raises ClusterError for an unknown architecture.
    """

    def __init__(
        self, cache: ContentCache, folder: Path, version: str, architectures: Sequence[str], model: Path | None = None
    ) -> None:
        if unknown := set(architectures) - set(ARCHITECTURES):
            known = " and ".join(f"linux/{architecture}" for architecture in ARCHITECTURES)
            raise ClusterError(f"no platform of ours: {', '.join(sorted(unknown))}; there are {known}")
        self._cache = cache
        self._layers = Layers(cache)
        self._folder = folder
        self._version = version
        self._images = (*references.ALL, *([references.with_model(model)] if model else []))
        self._architectures = architectures
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._indices: dict[str, dict[str, str]] = {}

    def steps(self) -> Sequence[BuildStep]:
        # One after the other: each uses all cores.
        steps = [BuildStep("base image", self._base), *sandbox_inputs.steps(self._cache, self._architectures)]
        before = "base image"
        for image in self._images:
            needs = (before, "sandbox inputs") if image is SANDBOX else (before,)
            steps.append(BuildStep(image.title, partial(self._write, image), after=needs))
            before = image.title
        return steps

    def finish(self) -> str:
        """Write images.json; returns its text."""
        rows = [row for image in self._images for row in self._rows[image.name]]
        indices = {image.title: self._indices[image.name] for image in self._images}
        text = json.dumps({"version": self._version, "images": rows, "index": indices}, indent=2) + "\n"
        (self._folder / "images.json").write_text(text)
        return text

    def _base(self) -> str:
        sizes = [self._layers.base(architecture).size for architecture in self._architectures]
        return " ".join(f"{size >> 20} MB" for size in sizes)

    def _write(self, image: ImageRecipe) -> str:
        origin = provenance(image, self._version)
        built = [
            assemble(image, architecture, self._layers.of(image, architecture), origin)
            for architecture in self._architectures
        ]
        archive = f"{image.title}.oci.tar"
        digest = write_archive(self._folder / archive, self._version, built)
        self._rows[image.name] = [dict(figures(image, archive, each_image)) for each_image in built]
        self._indices[image.name] = {"digest": digest, "archive": archive}
        return digest
