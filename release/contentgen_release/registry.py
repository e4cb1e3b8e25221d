"""Registries: push of a release with crane, and a registry on loopback for the release check."""

import contextlib
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from contentgen_cluster.cache import unpack
from contentgen_cluster.commands import CommandError, run
from contentgen_release import signing
from contentgen_release.build import repository
from contentgen_release.errors import ReleaseError
from contentgen_release.verification import Release

_MISSING = ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "404")
_PATIENCE_SECONDS = 20.0


def publish(release: Release, registry: str, crane: Path, report: Callable[[str], None]) -> None:
    """Push images, chart and their signatures, with the credentials of `docker login`. Raises ReleaseError if a tag of
    the version has another content, before anything was pushed."""
    tags = {name: f"{repository(registry, name)}:{release.version}" for name in release.digests}
    present = {name: digest(crane, tag) for name, tag in tags.items()}
    for name, found in present.items():
        if found not in {None, release.digests[name]}:
            raise ReleaseError(f"{tags[name]} is {found}: a published version is not changed, release another one")
    for name, tag in tags.items():
        if present[name] is None:
            _push(crane, release.archive(name), tag)
        if digest(crane, tag) != release.digests[name]:
            raise ReleaseError(f"{tag} is {digest(crane, tag)} after the push: expected {release.digests[name]}")
        if release.signed:
            signature = f"{repository(registry, name)}:{signing.signature_tag(release.digests[name])}"
            _push(crane, release.signature(name), signature)
        state = "pushed" if present[name] is None else "already there"
        report(f"{tag} {state}{', signed' if release.signed else ''}: {release.digests[name]}")


def digest(crane: Path, reference: str) -> str | None:
    """Digest of a tag; None if the registry does not have it. Raises CommandError for other answers."""
    try:
        return run(crane, "digest", reference).strip()
    except CommandError as error:
        if any(sign in error.output for sign in _MISSING):
            return None
        raise


def _push(crane: Path, archive: Path, reference: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        unpack(archive, Path(scratch))
        run(crane, "push", scratch, reference)


@contextlib.contextmanager
def loopback(crane: Path, folder: Path) -> Iterator[str]:
    """Address of a registry on 127.0.0.1 that keeps its blobs in a folder, until the end of the context."""
    folder.mkdir()
    address = f"127.0.0.1:{_free_port()}"
    with (folder.parent / "registry.log").open("wb") as log:
        command = [str(crane), "registry", "serve", "--address", address, "--disk", str(folder)]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:  # noqa: S603 # our own program
            try:
                _wait(address)
                yield address
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(address: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/v2/", timeout=2):
            return
        time.sleep(0.1)
    raise ReleaseError(f"the registry at {address} does not answer after {_PATIENCE_SECONDS:.0f} s")
