"""CPU quota for each process of a tree, by cgroups (version 1 or 2); needs root."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

_CGROUP = Path("/sys/fs/cgroup")
_FOLDER = "contentgen-bench"
_PERIOD = 20_000  # microseconds


class CpuQuota:
    """Limits processes to a share of a core each. The context manager removes the groups of ended processes."""

    def __init__(self, share: float, root: Path = _CGROUP) -> None:
        self._second_version = (root / "cgroup.controllers").exists()
        self._folder = (root if self._second_version else root / "cpu") / _FOLDER
        self._quota = round(share * _PERIOD)
        self._limited: set[int] = set()

    def __enter__(self) -> "CpuQuota":
        self._folder.mkdir(exist_ok=True)
        if self._second_version:
            (self._folder / "cgroup.subtree_control").write_text("+cpu")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pid in self._limited:
            (self._folder / str(pid)).rmdir()
        self._folder.rmdir()

    def limit(self, processes: Iterable[int]) -> None:
        """Limit the processes with these ids that are not limited yet. Processes that have exited are ignored."""
        for pid in set(processes) - self._limited:
            group = self._folder / str(pid)
            group.mkdir()
            self._limited.add(pid)
            if self._second_version:
                (group / "cpu.max").write_text(f"{self._quota} {_PERIOD}")
            else:
                (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (group / "cpu.cfs_quota_us").write_text(str(self._quota))
            try:
                (group / "cgroup.procs").write_text(str(pid))
            except ProcessLookupError:
                continue
