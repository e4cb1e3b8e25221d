"""Cluster providers and their choice: an existing context, kind, or the bare cluster."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from contentgen_cluster.commands import ClusterError
from contentgen_cluster.images.references import ImageRecipe
from contentgen_cluster.steps import BuildStep


class ClusterProvider(Protocol):
    """Interface of a cluster provider."""

    def cluster_steps(self) -> Sequence[BuildStep]:
        """Steps that start the cluster; the last one is named `cluster` and writes the clone's kubeconfig."""
        ...

    def image_steps(self, images: Sequence[ImageRecipe]) -> Sequence[BuildStep]:
        """Steps that build the images and load them after the step `cluster`.

        The last step of each image is named by `loaded_step`.
        """
        ...

    def references(self, images: Sequence[ImageRecipe]) -> Mapping[str, str]:
        """Image references in the cluster by short name."""
        ...

    def status(self) -> Mapping[str, str]:
        """Readable state of the cluster."""
        ...

    def down(self) -> str:
        """Remove the cluster; returns a text that names what stays."""
        ...


def loaded_step(image: ImageRecipe) -> str:
    """Name of the step that loads an image."""
    return f"{image.name} loaded"


class ClusterKind(Enum):
    """Cluster providers in order of preference."""

    NAMED = "the context that CONTEXT names"
    DOCKER = "kind, in the machine's Docker engine"
    BARE = "a bare cluster on this machine"


@dataclass(frozen=True)
class Machine:
    """Inputs of the choice. Checking for Docker takes a second, so it is done only if needed."""

    system: str
    is_root: bool
    docker_answers: Callable[[], bool]


def choose(environment: Mapping[str, str], machine: Machine) -> ClusterKind:
    """Chosen provider. A kubeconfig context is used only if the user names it, never the current one."""
    if environment.get("CONTEXT"):
        if not environment.get("IMAGE_PREFIX"):
            raise ClusterError(
                "CONTEXT names a cluster, so its nodes have to pull our images:\n"
                "set IMAGE_PREFIX=registry/path, which you can push to and which the cluster can pull from."
            )
        return ClusterKind.NAMED
    if machine.docker_answers():
        return ClusterKind.DOCKER
    if machine.system == "Linux" and machine.is_root:
        return ClusterKind.BARE
    raise ClusterError(
        "there is no way to a cluster from here. One of these is needed:\n"
        "  CONTEXT=… IMAGE_PREFIX=…, a cluster of yours and a registry;\n"
        "  a Docker engine that answers (`docker info`), for kind;\n"
        "  root on Linux, for a cluster of this machine's own processes."
    )
