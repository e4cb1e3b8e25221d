"""Control groups of the bare cluster's pods: one subtree per hierarchy, version 1 or 2."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from contentgen_cluster.commands import ClusterError

ROOT = Path("/sys/fs/cgroup")
_V1_NEEDED = ("cpu", "cpuacct", "cpuset", "memory", "pids")


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Mounted hierarchies; only the root with version 2."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return [path for path in sorted(root.iterdir()) if path.is_dir() and not path.is_symlink()]


def set_up(name: str, root: Path = ROOT) -> None:
    """Create the root of kubelet's pod cgroups, which kubelet does not create itself."""
    found = hierarchies(root)
    if found == [root]:
        controllers = (root / "cgroup.controllers").read_text().split()
        for controller in controllers:
            with suppress(OSError):  # one that the machine's owner keeps
                (root / "cgroup.subtree_control").write_text(f"+{controller}")
    elif missing := [each for each in _V1_NEEDED if not (root / each).is_dir()]:
        raise ClusterError(f"missing cgroup hierarchies: {', '.join(missing)}")
    for hierarchy in found:
        (hierarchy / name.strip("/")).mkdir(exist_ok=True)


def take_down(name: str, root: Path = ROOT, patience: float = 10.0) -> None:
    """Kill all processes in the subtree and remove it."""
    deadline = time.monotonic() + patience
    for hierarchy in hierarchies(root):
        top = hierarchy / name.strip("/")
        while top.exists() and not _removed(top):
            if time.monotonic() > deadline:
                raise ClusterError(f"processes in {top} do not exit: {sorted(_members(top))}")
            for pid in _members(top):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def _members(top: Path) -> set[int]:
    """Process ids in a subtree, all of them ours."""
    found: set[int] = set()
    for file in top.rglob("cgroup.procs"):
        with suppress(OSError):
            found |= {int(line) for line in file.read_text().split()}
    return found - {0}


def _removed(top: Path) -> bool:
    folders = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda each: -len(each.parts))
    try:
        for folder in [*folders, top]:
            folder.rmdir()
    except OSError:  # busy
        return False
    return True
