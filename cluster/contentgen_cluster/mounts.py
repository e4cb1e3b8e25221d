"""Unmounting below a folder, so that it can be removed."""

from pathlib import Path

from contentgen_cluster.commands import run


def mounted_below(folder: Path, table: str) -> list[str]:
    """Mount points below a folder, newest first, from /proc/self/mountinfo."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in table.splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(folder)]


def unmount_below(folder: Path) -> None:
    """Unmount everything below a folder."""
    for point in mounted_below(folder, Path("/proc/self/mountinfo").read_text()):
        run("umount", "--lazy", point)
