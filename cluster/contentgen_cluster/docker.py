"""Cluster providers that build with Docker: kind, and an existing cluster that the user names."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from contentgen_cluster.cache import ContentCache
from contentgen_cluster.commands import ClusterError, CommandError, run, succeeds
from contentgen_cluster.images import golang, sandbox_inputs, wheels
from contentgen_cluster.images.references import SANDBOX, ImageRecipe, tag
from contentgen_cluster.paths import KUBECONFIG, REPO
from contentgen_cluster.providers import loaded_step
from contentgen_cluster.steps import BuildStep

_CLUSTER = "contentgen"


def engine_answers() -> bool:
    """Whether a Docker engine answers."""
    return shutil.which("docker") is not None and succeeds("docker", "info")


class KindCluster:
    """kind cluster named `contentgen` in the Docker engine."""

    def __init__(self, cache: ContentCache) -> None:
        self._cache = cache

    def cluster_steps(self) -> Sequence[BuildStep]:
        return [
            BuildStep("kind", lambda: str(self._kind().name)),
            BuildStep("cluster", self._up, after=("kind", "tools")),
        ]

    def image_steps(self, images: Sequence[ImageRecipe]) -> Sequence[BuildStep]:
        return _image_steps(self._cache, self.references(images), images, self._load)

    def references(self, images: Sequence[ImageRecipe]) -> Mapping[str, str]:
        return _references(images, "localhost")

    def status(self) -> Mapping[str, str]:
        there = _CLUSTER in run(self._kind(), "get", "clusters").split()
        return {"kind cluster": _CLUSTER if there else "none"}

    def down(self) -> str:
        run(self._kind(), "delete", "cluster", f"--name={_CLUSTER}", f"--kubeconfig={KUBECONFIG}")
        return "the images stay in the Docker engine"

    def _kind(self) -> Path:
        found = shutil.which("kind")
        return Path(found) if found else golang.kind(self._cache)

    def _up(self) -> str:
        note = "runs already"
        if _CLUSTER not in run(self._kind(), "get", "clusters").split():
            note = "started"
            # A kubeconfig of its own: the user's is not touched, nor is its current context.
            create = ("create", "cluster", f"--name={_CLUSTER}", "--wait=120s")
            run(self._kind(), *create, f"--kubeconfig={KUBECONFIG}")
        KUBECONFIG.unlink(missing_ok=True)
        run(self._kind(), "export", "kubeconfig", f"--name={_CLUSTER}", f"--kubeconfig={KUBECONFIG}")
        _rename_context(wheels.kubectl_and_helm(self._cache) / "kubectl")
        return note

    def _load(self, reference: str) -> str:
        run(self._kind(), "load", "docker-image", reference, f"--name={_CLUSTER}")
        return "loaded"


class NamedContext:
    """Existing cluster of the user, which is neither set up nor removed."""

    def __init__(self, cache: ContentCache, context: str, prefix: str) -> None:
        self._cache = cache
        self._context = context
        self._prefix = prefix

    def cluster_steps(self) -> Sequence[BuildStep]:
        return [BuildStep("cluster", self._export, after=("tools",))]

    def image_steps(self, images: Sequence[ImageRecipe]) -> Sequence[BuildStep]:
        if not engine_answers():
            raise ClusterError("building images for the cluster of CONTEXT needs a running Docker engine")
        return _image_steps(self._cache, self.references(images), images, _push)

    def references(self, images: Sequence[ImageRecipe]) -> Mapping[str, str]:
        return _references(images, self._prefix)

    def status(self) -> Mapping[str, str]:
        return {"context": self._context}

    def down(self) -> str:
        return f"the cluster of context {self._context} is yours, and stays as it is"

    def _export(self) -> str:
        kubectl = wheels.kubectl_and_helm(self._cache) / "kubectl"
        view = ("config", "view", "--minify", "--flatten", f"--context={self._context}")
        try:
            found = run(kubectl, *view)
        except CommandError as error:
            raise ClusterError(f"CONTEXT={self._context}: {error}") from None
        KUBECONFIG.touch(mode=0o600)
        KUBECONFIG.write_text(found)
        _rename_context(kubectl)
        run(kubectl, f"--kubeconfig={KUBECONFIG}", "get", "--raw", "/readyz", "--request-timeout=20s")
        return f"{self._context} answers"


def _references(images: Sequence[ImageRecipe], prefix: str) -> dict[str, str]:
    return {image.name: f"{image.repository(prefix)}:{tag(image, REPO, *_other_inputs(image))}" for image in images}


def _other_inputs(image: ImageRecipe) -> list[str]:
    return [sandbox_inputs.key()] if image is SANDBOX else []


def _image_steps(
    cache: ContentCache, references: Mapping[str, str], images: Sequence[ImageRecipe], deliver: Callable[[str], str]
) -> list[BuildStep]:
    steps = sandbox_inputs.steps(cache)
    for image in images:
        build = f"{image.name} image"
        steps += [
            BuildStep(build, partial(_build, image, references[image.name]), after=("sandbox inputs",)),
            BuildStep(loaded_step(image), partial(deliver, references[image.name]), after=(build, "cluster")),
        ]
    return steps


def _build(image: ImageRecipe, reference: str) -> str:
    if succeeds("docker", "image", "inspect", reference):
        return "cached"
    run("docker", "build", f"--file={REPO / image.dockerfile}", f"--tag={reference}", REPO)
    return reference


def _push(reference: str) -> str:
    if succeeds("docker", "manifest", "inspect", reference):
        return "there"
    run("docker", "push", reference)
    return "pushed"


def _rename_context(kubectl: Path) -> None:
    """Rename the only context of the clone's kubeconfig to our name and select it."""
    at = f"--kubeconfig={KUBECONFIG}"
    name = run(kubectl, "config", "get-contexts", "--output=name", at).strip()
    if name != _CLUSTER:
        run(kubectl, "config", "rename-context", name, _CLUSTER, at)
    run(kubectl, "config", "use-context", _CLUSTER, at)
