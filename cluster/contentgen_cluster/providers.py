"""Which cluster the tests get: what differs between one that the user names, kind's, and ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from contentgen_cluster.commands import ClusterError
from contentgen_cluster.images.references import ImageRecipe
from contentgen_cluster.steps import BuildStep


class ClusterProvider(Protocol):
    """A place to run a cluster in."""

    def cluster_steps(self) -> Sequence[BuildStep]:
        """Bring up the cluster; the last step is named `cluster` and leaves the clone's kubeconfig."""
        ...

    def image_steps(self, images: Sequence[ImageRecipe]) -> Sequence[BuildStep]:
        """Build the images and give them to the cluster that the step named `cluster` brings up.

        The last step of each image is named by `loaded_step`.
        """
        ...

    def references(self, images: Sequence[ImageRecipe]) -> Mapping[str, str]:
        """What the images are called in the cluster, by their short names."""
        ...

    def status(self) -> Mapping[str, str]:
        """What is there, for people."""
        ...

    def down(self) -> str:
        """Remove all that was brought up, and say what stays."""
        ...


def loaded_step(image: ImageRecipe) -> str:
    """The name of the step after which the cluster has an image."""
    return f"{image.name} loaded"


class ClusterKind(Enum):
    """The providers, in the order of preference."""

    NAMED = "the context that CONTEXT names"
    DOCKER = "kind, in the machine's Docker engine"
    BARE = "a bare cluster on this machine"


@dataclass(frozen=True)
class Machine:
    """What the choice depends on. Asking for the engine costs a second, so that is done only when needed."""

    system: str
    is_root: bool
    docker_answers: Callable[[], bool]


def choose(environment: Mapping[str, str], machine: Machine) -> ClusterKind:
    """The provider. A context is used only if the user names it: never the current one of a kubeconfig."""
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
