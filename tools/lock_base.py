"""Lock the Debian packages of the images' base layer: `make lock-base`, on Debian. `--check`: `make audit-base`.

The check compares the lock with Debian's archives of this moment. Exit status 1: there are other versions, among them
security updates; 2: an archive did not answer, so nothing is known.

apt verifies Debian's signature of the indices, chooses the versions and resolves the dependencies. An architecture has
its own state of apt, so that the machine's packages have no influence.
"""

import re
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from contentgen_cluster.images.debian import archive_urls

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements/base.lock"
ARCHITECTURES = ("amd64", "arm64")
ARCHIVES = (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security"))
PACKAGES = (
    "base-files",
    "ca-certificates",
    "libpython3.11-stdlib",
    "libstdc++6",
    "netbase",
    "python3.11-minimal",
    "tzdata",
    "zlib1g",
)
NOT_NEEDED = ("debconf", "dpkg", "mawk", "openssl")
"""Dependencies that only maintainer scripts use, which the images do without."""
_HEAD = """\
# Debian packages of the images' base layer, locked by `make lock-base`:
# architecture, name, version, SHA-256, path on a mirror.
"""
_LINE = re.compile(r"'(?P<uri>[^']+)' \S+ \d+ SHA256:(?P<sha256>[0-9a-f]{64})")


def main() -> int:
    """Exit status 0 where the lock is written, or has the newest versions."""
    try:
        lines = [line for architecture in ARCHITECTURES for line in _newest(architecture)]
    except subprocess.CalledProcessError as error:
        print(f"Not checked: {' '.join(error.cmd[:1])} failed. Nothing is known about newer versions.", file=sys.stderr)
        return 2
    if "--check" in sys.argv:
        found = outdated(LOCK.read_text().splitlines(), lines)
        print(
            "\n".join(
                [*found, f"{LOCK.relative_to(ROOT)}: {len(found)} packages have other versions in Debian's archives"]
            )
        )
        return int(bool(found))
    LOCK.write_text(f"{_HEAD}snapshot {datetime.now(UTC):%Y%m%dT%H%M%SZ}\n" + "\n".join(lines) + "\n")
    print(f"{LOCK.relative_to(ROOT)}: {len(lines)} packages")
    return 0


def outdated(locked: Sequence[str], newest: Sequence[str]) -> list[str]:
    """Differences between the lines of a lock and those of Debian's archives, one line for each package."""
    before, now = _versions(locked), _versions(newest)
    found = []
    for package in sorted(before.keys() | now.keys()):
        (old, _), (new, path) = before.get(package, ("no version", "")), now.get(package, ("no version", ""))
        if old != new:
            security = ", a security update" if path.startswith("debian-security/") else ""
            found.append(f"{' '.join(package)}: the lock has {old}, the archive {new}{security}")
    return found


def _versions(lines: Sequence[str]) -> dict[tuple[str, str], tuple[str, str]]:
    """Version and path of each package by architecture and name."""
    fields = [line.split() for line in lines if not line.startswith(("#", "snapshot "))]
    return {(architecture, name): (version, path) for architecture, name, version, _, path in fields}


def _newest(architecture: str) -> list[str]:
    """Lines of the lock for an architecture."""
    with tempfile.TemporaryDirectory() as folder:
        return sorted(_line(architecture, uri) for uri in _resolve(architecture, Path(folder)))


def _resolve(architecture: str, folder: Path) -> list[str]:
    """apt's lines of the packages and of their dependencies."""
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "cache/archives/partial").mkdir(parents=True)
    (folder / "parts").mkdir()
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    sources = [f"deb {key} {archive_urls(name)[0]} {suite} main\n" for name, suite in ARCHIVES]
    (folder / "sources.list").write_text("".join(sources))
    (folder / "status").write_text("\n".join(_installed(name, architecture) for name in NOT_NEEDED))
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Update::Error-Mode": "any",  # otherwise an archive that does not answer is a warning
        "APT::Sandbox::User": "",  # its user cannot read the temporary folder
        "Acquire::ForceHash": "SHA256",
        "Acquire::Languages": "none",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::preferencesparts": folder / "parts",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
    }
    apt = ["apt-get", "-qq", *(part for name, value in settings.items() for part in ("-o", f"{name}={value}"))]
    subprocess.run([*apt, "update"], check=True)
    wanted = [*apt, "--yes", "--no-install-recommends", "--print-uris", "install", *PACKAGES]
    said = subprocess.run(wanted, check=True, capture_output=True, text=True).stdout
    return said.splitlines()


def _installed(name: str, architecture: str) -> str:
    provides = {"mawk": "awk", "debconf": "debconf-2.0"}.get(name, name + "-of-the-builder")
    fields = f"Package: {name}\nStatus: install ok installed\nVersion: 99\nArchitecture: {architecture}\n"
    return f"{fields}Maintainer: none\nDescription: not needed\nProvides: {provides}\n"


def _line(architecture: str, said: str) -> str:
    found = _LINE.match(said)
    if found is None:
        raise SystemExit(f"apt gave no SHA-256: {said}")
    uri = urllib.parse.unquote(found["uri"])
    named = ((name, f"{archive_urls(name)[0]}/") for name, _ in ARCHIVES)
    path = next(f"{name}/{uri.removeprefix(url)}" for name, url in named if uri.startswith(url))
    name, version, _ = Path(urllib.parse.unquote(path)).name.split("_")
    return f"{architecture} {name} {urllib.parse.unquote(version)} {found['sha256']} {path}"


if __name__ == "__main__":
    sys.exit(main())
