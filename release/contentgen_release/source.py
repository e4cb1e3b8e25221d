"""Sources of a release: version, commit, time, and a copy of the tracked files with the version in it."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from contentgen_cluster.commands import run
from contentgen_release.errors import ReleaseError

_NUMBER = r"(0|[1-9]\d*)"
_PART = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PART}(\.{_PART})*)?")
_SHOWN = 5


@dataclass(frozen=True)
class ReleaseSource:
    """Commit that is released. `epoch` is its time in seconds, the time of all files in the artifacts."""

    version: str
    commit: str
    epoch: int
    dirty: bool


def valid_version(text: str) -> str:
    """Semantic version without a leading v. Build metadata (+…) is refused: tags of registries cannot have a plus."""
    if _VERSION.fullmatch(text):
        return text
    raise ReleaseError(f"VERSION={text} is not a version such as 1.2.3 or 1.2.3-rc.1 (semver.org, without v and +)")


def prerelease(version: str) -> bool:
    """Whether a version is a prerelease, such as 1.2.3-rc.1."""
    return "-" in version


def source(root: Path, version: str, *, allow_dirty: bool) -> ReleaseSource:
    """ReleaseSource of a clone. Raises ReleaseError if files differ from the commit, unless that is allowed."""
    changed = run("git", "status", "--porcelain", cwd=root).splitlines()
    if changed and not allow_dirty:
        shown = "\n".join(f"  {line}" for line in changed[:_SHOWN])
        raise ReleaseError(
            f"{len(changed)} files differ from the commit, so the release could not be made again from it:\n{shown}\n"
            "Commit them, or set ALLOW_DIRTY=1 for a release that is not published."
        )
    commit, epoch = run("git", "log", "-1", "--format=%H %ct", cwd=root).split()
    return ReleaseSource(valid_version(version), commit, int(epoch), bool(changed))


def stage(root: Path, target: Path, origin: ReleaseSource) -> Path:
    """Copy of the files that git tracks or would add, with the release's version, fixed modes and times."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=root)
    for name in sorted(set(listed.split("\0")) - {""}):
        path = root / name
        if not path.is_file() or path.is_symlink():
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
    _replace(target / "pyproject.toml", r'(?m)^version = ".*"$', f'version = "{origin.version}"')
    for field in ("version", "appVersion"):
        _replace(target / "charts/contentgen/Chart.yaml", rf"(?m)^{field}: .*$", f'{field}: "{origin.version}"')
    for path in target.rglob("*"):
        os.utime(path, (origin.epoch, origin.epoch))
    return target


def _replace(path: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, path.read_text())
    if count != 1:
        raise ReleaseError(f"{path.name} has {count} lines {pattern}: expected one")
    path.write_text(changed)
