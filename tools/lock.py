"""Lock the requirements of each image and of development: hashes, no index URL, good for every Python we support.

`--check` needs no registry: it fails where pyproject.toml changed after the last lock, by the hash in each file's head.
"""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {
    "operator": ("operator", "gateway"),  # one image
    "worker": ("worker",),
    "vision": ("vision",),
    "sandbox": ("sandbox",),
    "dev": ("dev",),
}


def main() -> int:
    """Exit status 0 when the locks are fresh."""
    head = f"# Locked by `make lock` from pyproject.toml, whose requirements hash to {_digest()}.\n"
    names = [*EXTRAS, "uv"]
    stale = [name for name in names if not _path(name).exists() or not _path(name).read_text().startswith(head)]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{_path(name).relative_to(ROOT)} does not fit pyproject.toml any more: run `make lock`")
        return bool(stale)
    for name, extras in EXTRAS.items():
        _path(name).write_text(head + _compile("pyproject.toml", *(f"--extra={extra}" for extra in extras)))
    _path("uv").write_text(head + _only("uv", _path("dev").read_text()))
    return 0


def _path(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def _digest() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        project["project"]["dependencies"],
        project["project"]["optional-dependencies"],
        project["tool"]["uv"],
    ]
    return hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]


def _compile(*args: str) -> str:
    flags = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    command = [str(ROOT / ".venv/bin/uv"), "pip", "compile", "--quiet", *flags, *args]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _only(name: str, locked: str) -> str:
    """One package's lines of a lock."""
    lines = locked.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    return "\n".join(lines[start:end]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
