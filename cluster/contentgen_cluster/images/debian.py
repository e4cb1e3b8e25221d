"""Debian packages of the base layer: the lock file, downloads that are verified, and the files inside."""

import hashlib
import io
import lzma
import os
import re
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contentgen_cluster.cache import ContentCache
from contentgen_cluster.commands import ClusterError, CommandError, run
from contentgen_cluster.paths import REPO

BASE_LOCK = REPO / "requirements/base.lock"
ARCHITECTURES = ("amd64", "arm64")
_ATTEMPTS = 4


@dataclass(frozen=True)
class DebianPackage:
    """One line of the lock; `path` is relative to a mirror, such as `debian/pool/main/z/zlib/….deb`."""

    architecture: str
    name: str
    version: str
    sha256: str
    path: str


@dataclass(frozen=True)
class BaseLock:
    """The lock file; `snapshot` is the time of the archive's state, such as 20261123T140000Z."""

    snapshot: str
    packages: tuple[DebianPackage, ...]

    def of(self, architecture: str) -> tuple[DebianPackage, ...]:
        return tuple(package for package in self.packages if package.architecture == architecture)


def read_lock(path: Path = BASE_LOCK) -> BaseLock:
    """The lock file. Raises ValueError for a malformed line."""
    snapshot, packages = "", []
    for line in path.read_text().splitlines():
        fields = line.split()
        match fields:
            case [] | ["#", *_]:
                continue
            case ["snapshot", moment]:
                snapshot = moment
            case [architecture, name, version, sha256, file] if architecture in ARCHITECTURES and len(sha256) == 64:
                packages.append(DebianPackage(architecture, name, version, sha256, file))
            case _:
                raise ValueError(f"{path.name}: not a package: {line}")
    return BaseLock(snapshot, tuple(packages))


def fetch(cache: ContentCache, package: DebianPackage, snapshot: str) -> Path:
    """The package's file, downloaded unless it is cached. Raises ClusterError unless it has the lock's hash."""
    file = cache.root / "debian" / f"{package.sha256}.deb"
    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    content = _download(package, snapshot)
    found = hashlib.sha256(content).hexdigest()
    if found != package.sha256:
        raise ClusterError(f"{package.path}: SHA-256 is {found}, the lock has {package.sha256}")
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.rename(file)
    return file


def archive_urls(archive: str) -> tuple[str, ...]:
    """URLs of Debian's `debian` or `debian-security` archive in apt's sources, in their order: a mirror, and an archive
    of older states where one was added. Raises ClusterError where there is none.

    They may be plain HTTP: each file has its hash in the lock.
    """
    try:
        # Unlike `indextargets`, this also lists sources whose indices were never downloaded.
        sites: list[str] = re.findall(r"'(\S+?)/+dists/\S+'", run("apt-get", "--print-uris", "update"))
    except (CommandError, OSError):  # no apt
        sites = []
    found = tuple(dict.fromkeys(site for site in sites if archive in site.split("/")))
    if not found:
        raise ClusterError(f"apt's sources do not contain Debian's archive `{archive}`")
    return found


def members(deb: bytes, name: str) -> tarfile.TarFile:
    """The tar `control` or `data` of a .deb, which is an ar archive of both."""
    for member, content in _ar(deb):
        stem, _, suffix = member.partition(".tar")
        if stem == name:
            plain = lzma.decompress(content) if suffix == ".xz" else content
            return tarfile.open(fileobj=io.BytesIO(plain), mode="r:*")
    raise ClusterError(f"not a Debian package: no {name}.tar")


def _ar(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Members of an ar archive: headers of 60 bytes, contents padded to even sizes."""
    if not archive.startswith(b"!<arch>\n"):
        raise ClusterError("not a Debian package: no ar archive")
    at = 8
    while at + 60 <= len(archive):
        name = archive[at : at + 16].decode().strip().removesuffix("/")
        size = int(archive[at + 48 : at + 58])
        yield name, archive[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def _download(package: DebianPackage, snapshot: str) -> bytes:
    archive, _, path = package.path.partition("/")
    failures = []
    for site in archive_urls(archive):
        address = f"{site}/{path}".replace("+", "%2b")  # some servers read a '+' in a path as a space
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - http or https, by apt's sources
                    content: bytes = answer.read()
                    return content
            except urllib.error.HTTPError as error:
                failures.append(f"{address}: {error.code}")
                if error.code < 500:
                    break
            except OSError as error:
                failures.append(f"{address}: {error}")
            time.sleep(2**attempt / 4)
    problem = (
        f"{package.name} {package.version} cannot be downloaded. Mirrors keep the newest versions only: if they do not "
        f"have it (404), run `make lock-base`, or add Debian's snapshot archive of {snapshot} to apt's sources"
    )
    raise ClusterError("\n".join([problem, *failures]))
