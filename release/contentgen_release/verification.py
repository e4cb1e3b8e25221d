"""Verification of a release's folder by itself: checksums, signatures, images, chart."""

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contentgen_release import integrity, signing
from contentgen_release.artifacts import images, oci
from contentgen_release.build import INDEX
from contentgen_release.errors import ReleaseError

Report = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """Verified release. `digests` of the images and the chart by short name."""

    folder: Path
    version: str
    registry: str
    digests: dict[str, str]
    signed: bool

    def archive(self, name: str) -> Path:
        """OCI archive of an image, or of the chart."""
        return self.folder / images.archive_name(name, self.version)

    def signature(self, name: str) -> Path:
        """OCI archive with the signature of an image, or of the chart."""
        return self.folder / images.signature_name(name, self.version)


def newest(parent: Path) -> Path:
    """Folder of the release that was made last. Raises ReleaseError if there is none."""
    found = [path for path in parent.glob("*/") if (path / INDEX).exists() and not path.name.startswith(".")]
    if not found:
        raise ReleaseError(f"{parent} has no release: run `make release VERSION=…` first")
    return max(found, key=lambda each: (each / INDEX).stat().st_mtime)


def verify(folder: Path, public_key: Path | None, report: Report) -> Release:
    """Verify all files of a release. Raises ReleaseError for the first kind of problem.

    With `public_key` the release must be signed with it. Without, a signature is compared with the key that is in the
    folder, which shows damage but not who signed.
    """
    signed = _signature(folder, public_key, report)
    names = integrity.verify_sums(folder)
    report(f"{len(names)} files have the checksums of {integrity.SUMS}")
    about = json.loads((folder / INDEX).read_text())
    release = Release(folder, about["version"], about["registry"], about["digests"], signed)
    _index(about, names)
    for name, digest in release.digests.items():
        found = oci.verify(release.archive(name))["digest"]
        if found != digest:
            raise ReleaseError(f"{release.archive(name).name} contains {found}: {INDEX} has {digest}")
        if signed:
            signing.verify_image(_key(folder, public_key), release.signature(name), digest)
        report(f"{name}: {digest}, all blobs present{', signed' if signed else ''}")
    _chart(release, report)
    return release


def _chart(release: Release, report: Report) -> None:
    """The chart's values name every image by its digest, and the OCI artifact contains the same package."""
    package = release.folder / f"contentgen-{release.version}.tgz"
    with tarfile.open(package) as packed, oci.opened(release.archive("chart")) as (entry, blobs):
        content = packed.extractfile("contentgen/values.yaml")
        values = content.read().decode() if content else ""
        (layer,) = oci.json_blob(blobs, entry["digest"])["layers"]
    missing = [name for name, digest in release.digests.items() if name != "chart" and digest not in values]
    if missing:
        raise ReleaseError(f"{package.name} does not name the digests of {', '.join(missing)}")
    if layer["digest"] != f"sha256:{integrity.sha256(package)}":
        raise ReleaseError(f"{release.archive('chart').name} contains another chart than {package.name}")
    report(f"{package.name} names the digests of {len(release.digests) - 1} images")


def _signature(folder: Path, public_key: Path | None, report: Report) -> bool:
    signature, sums = folder / integrity.SIGNATURE, folder / integrity.SUMS
    if not sums.exists():
        raise ReleaseError(f"{folder} has no {integrity.SUMS}: run `make release` first")
    if not signature.exists():
        if public_key or (folder / signing.PUBLIC_KEY).exists():
            raise ReleaseError(f"{folder} has no {integrity.SIGNATURE}, but should be signed")
        report("not signed")
        return False
    key = _key(folder, public_key)
    signing.verify(key, sums.read_bytes(), signature.read_bytes().strip(), integrity.SIGNATURE)
    whose = str(public_key) if public_key else f"the key in {signing.PUBLIC_KEY}; pass PUBKEY= to verify who signed"
    report(f"{integrity.SUMS} is signed with {whose}: {signing.fingerprint(key)}")
    return True


def _key(folder: Path, public_key: Path | None) -> bytes:
    path = public_key or folder / signing.PUBLIC_KEY
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{path}: {error.strerror}") from None


def _index(about: dict[str, Any], names: list[str]) -> None:
    """release.json lists the same files as SHA256SUMS, except itself."""
    different = set(about["files"]) ^ (set(names) - {INDEX})
    if different:
        raise ReleaseError(f"{INDEX} and {integrity.SUMS} differ in {', '.join(sorted(different))}")
