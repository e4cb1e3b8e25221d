"""What a decoder is let near, and what it may use of this pod."""

from dataclasses import dataclass
from pathlib import Path

from contentgen_worker.errors import BeyondLimits
from contentgen_worker.media.decode.source import MediaSource, files_of
from contentgen_worker.media.sandbox.confinement import ChildLimits

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_RESERVE = 512 << 20  # for us, and for the server that children are forked from
_MIN_CHILD_BYTES, _MAX_CHILD_BYTES = 512 << 20, 8 << 30  # of one child


@dataclass(frozen=True)
class MediaLimits:
    """Pixels of one frame, seconds and frames of a recording, CPU seconds of one process that decodes, and memory."""

    pixels: int
    seconds: float
    frames: int = 12 * 3600 * 120
    cpu_seconds: int = 6 * 3600
    memory_bytes: int = 2 << 30  # of this pod

    def check_duration(self, seconds: float) -> None:
        """Raises BeyondLimits for a recording that is too long."""
        if seconds > self.seconds:
            raise BeyondLimits(f"it lasts {seconds:.0f} s, at most {self.seconds:g} s are taken; cut it")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises BeyondLimits for frames that are too large."""
        if width * height > self.pixels:
            raise BeyondLimits(f"its frames are {width}x{height}, at most {self.pixels} pixels are taken; scale it")

    def check_frames(self, count: int) -> None:
        """Raises BeyondLimits for a video of too many frames."""
        if count > self.frames:
            raise BeyondLimits(f"it has more than {self.frames} frames; cut it, or lower its frame rate")

    def child_limits(self, *files: Path | MediaSource, children: int = 1) -> ChildLimits:
        """Of a child that reads these files and writes none, where so many of them are at work at once: the pod's
        memory is shared among them, so that one that wants too much ends alone."""
        share = (self.memory_bytes - _RESERVE) // children
        paths = tuple(path for file in files for path in files_of(file))
        return ChildLimits(min(max(share, _MIN_CHILD_BYTES), _MAX_CHILD_BYTES), self.cpu_seconds, paths)


def pod_memory(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Bytes that the cgroup may use, by version 2 or 1, and no more than the machine has."""
    machine = int(meminfo.read_text().split()[1]) << 10
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return min(int((cgroup / name).read_text()), machine)
        except (OSError, ValueError):  # not there, or "max"
            continue
    return machine
