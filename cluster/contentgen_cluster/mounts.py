"""What is mounted below a folder, and how to be rid of it before the folder is removed."""

from pathlib import Path

from contentgen_cluster.commands import run


def mounted_below(folder: Path, table: str) -> list[str]:
    """Mount points in a folder, the newest first, out of the text of /proc/self/mountinfo."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in table.splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(folder)]


def unmount_below(folder: Path) -> None:
    """Unmount all that is mounted in a folder."""
    for point in mounted_below(folder, Path("/proc/self/mountinfo").read_text()):
        run("umount", "--lazy", point)
