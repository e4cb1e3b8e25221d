"""Lock the requirements of each image and of development: hashes, no index URL, good for every Python we support.

`--check` needs no registry: each file's head holds the hash of what it locks, and the check fails where
pyproject.toml has other requirements. A new one of development leaves the images' locks and layers as they are.
"""

import hashlib
import re
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
    "cli": ("cli",),
    "dev": ("dev",),
    "audit": ("audit",),
}


def main() -> int:
    """Exit status 0 when the locks are fresh."""
    heads = {name: _head(*extras) for name, extras in EXTRAS.items()} | {"uv": _head(*EXTRAS["dev"])}
    stale = [
        name for name, head in heads.items() if not _path(name).exists() or not _path(name).read_text().startswith(head)
    ]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{_path(name).relative_to(ROOT)} does not fit pyproject.toml any more: run `make lock`")
        return bool(stale)
    # Development first: it has every extra, and its versions are those of each image.
    for name, extras in sorted(EXTRAS.items(), key=lambda each: each[0] != "dev"):
        same = [] if name in {"dev", "audit"} else [f"--constraint={_path('dev')}"]
        locked = _compile("pyproject.toml", *(f"--extra={extra}" for extra in extras), *same)
        _path(name).write_text(heads[name] + locked)
    _path("uv").write_text(heads["uv"] + _only("uv", _path("dev").read_text()))
    return 0


def _path(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def _head(*extras: str) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"]
    wanted = [project["project"]["dependencies"], *(_with_own(extra, optional) for extra in extras)]
    digest = hashlib.sha256(repr([wanted, project["tool"]["uv"]]).encode()).hexdigest()[:16]
    return f"# Locked by `make lock` from pyproject.toml, whose requirements hash to {digest}.\n"


def _with_own(extra: str, optional: dict[str, list[str]]) -> list[str]:
    """The requirements of an extra, and of our other extras that it names: `contentgen[operator,cli]`."""
    named = [re.match(r"contentgen\[(.*)\]", each) for each in optional[extra]]
    others = [name for match in named if match for name in match[1].split(",")]
    return [*optional[extra], *(each for name in others for each in optional[name])]


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
