"""Actions of the Job runner's decision; pure."""

from dataclasses import dataclass

from contentgen_try.kubelet.state import Body


@dataclass(frozen=True)
class CreatePod:
    """Create a pod from the Job's template."""


@dataclass(frozen=True)
class StartContainer:
    """Start the process of a pod."""

    pod: Body


@dataclass(frozen=True)
class StopContainer:
    """Kill the process group of a pod."""

    pod: Body


@dataclass(frozen=True)
class DeletePod:
    """Kill the process of a pod and delete it."""

    pod: Body


@dataclass(frozen=True)
class PatchPod:
    """Write the status of a pod."""

    pod: Body
    status: Body


@dataclass(frozen=True)
class PatchJob:
    """Write the status of the Job."""

    status: Body


@dataclass(frozen=True)
class DeleteJob:
    """Delete the Job: its time to live after its end is over."""


Action = CreatePod | StartContainer | StopContainer | DeletePod | PatchPod | PatchJob | DeleteJob
