"""Limits of decoding, and the share of the pod's memory that each child may use."""

from dataclasses import dataclass
from pathlib import Path

from contentgen_worker.errors import BeyondLimits
from contentgen_worker.media.decode.source import MediaSource, source_files
from contentgen_worker.media.sandbox.confinement import ChildLimits

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_RESERVE = 512 << 20  # for the worker and the fork server
_MIN_CHILD_BYTES, _MAX_CHILD_BYTES = 512 << 20, 8 << 30  # per child


@dataclass(frozen=True)
class MediaLimits:
    """Limits: pixels per frame, seconds and frames of a recording, CPU seconds of one child, and memory of the pod."""

    pixels: int
    seconds: float
    frames: int = 12 * 3600 * 120
    cpu_seconds: int = 6 * 3600
    memory_bytes: int = 2 << 30  # of the pod

    def check_duration(self, seconds: float) -> None:
        """Raises BeyondLimits for a recording that is too long."""
        if seconds > self.seconds:
            raise BeyondLimits(f"it lasts {seconds:.0f} s, the limit is {self.seconds:g} s; cut it")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises BeyondLimits for frames that are too large."""
        if width * height > self.pixels:
            raise BeyondLimits(
                f"its frames are {width}x{height}, at most {self.pixels} pixels are allowed; scale it down"
            )

    def check_frames(self, count: int) -> None:
        """Raises BeyondLimits for a video with too many frames."""
        if count > self.frames:
            raise BeyondLimits(f"it has more than {self.frames} frames; cut it, or lower its frame rate")

    def child_limits(self, *files: Path | MediaSource, children: int = 1) -> ChildLimits:
        """Limits of one of `children` parallel children that reads these files and writes none.

        The pod's memory is divided among them, so a child that needs too much fails alone.
        """
        share = (self.memory_bytes - _RESERVE) // children
        paths = tuple(path for file in files for path in source_files(file))
        return ChildLimits(min(max(share, _MIN_CHILD_BYTES), _MAX_CHILD_BYTES), self.cpu_seconds, paths)


def pod_memory(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Memory limit in bytes of the cgroup (version 2 or 1), at most the machine's memory."""
    machine = int(meminfo.read_text().split()[1]) << 10
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return min(int((cgroup / name).read_text()), machine)
        except (OSError, ValueError):  # missing, or "max"
            continue
    return machine
