"""SHA256SUMS: checksums of all files of a release, and their verification."""

import hashlib
import re
from pathlib import Path

from contentgen_release.errors import ReleaseError

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\s]+)")


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_sums(folder: Path) -> bytes:
    """Write SHA256SUMS of all other files of a folder, in the format of sha256sum; returns its content."""
    text = "".join(f"{sha256(path)}  {path.name}\n" for path in _files(folder))
    (folder / SUMS).write_text(text)
    return text.encode()


def verify_sums(folder: Path) -> list[str]:
    """Names of the verified files. Raises ReleaseError for a missing, changed or unlisted file."""
    listed = _listed(folder / SUMS)
    present = {path.name: path for path in _files(folder)}
    problems = [f"{name} is missing" for name in sorted(listed.keys() - present.keys())]
    problems += [f"{name} is not in {SUMS}" for name in sorted(present.keys() - listed.keys())]
    for name in sorted(listed.keys() & present.keys()):
        if sha256(present[name]) != listed[name]:
            problems.append(f"{name} differs from its checksum")
    if problems:
        raise ReleaseError(f"{folder}: " + "; ".join(problems))
    return sorted(listed)


def _listed(sums: Path) -> dict[str, str]:
    if not sums.exists():
        raise ReleaseError(f"{sums.parent} has no {SUMS}: run `make release` first")
    found: dict[str, str] = {}
    for line in sums.read_text().splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found:
            raise ReleaseError(f"{SUMS} has a wrong line: {line}")
        found[match[2]] = match[1]
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name not in {SUMS, SIGNATURE})
