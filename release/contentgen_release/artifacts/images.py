"""Images of a release, built for all platforms by `python -m contentgen_cluster images`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from contentgen_cluster.commands import run
from contentgen_release.artifacts import oci
from contentgen_release.errors import ReleaseError
from contentgen_release.source import ReleaseSource

PLATFORMS = ("linux/amd64", "linux/arm64")


def build(root: Path, scratch: Path, output: Path, origin: ReleaseSource, platforms: Sequence[str]) -> dict[str, str]:
    """Write an OCI archive for each image, with an index of its platforms; returns the digests of the indexes by short
    name."""
    options = ["--output", str(scratch), "--version", origin.version, "--platform", ",".join(platforms)]
    times = {"SOURCE_DATE_EPOCH": str(origin.epoch)}
    said = run(sys.executable, "-m", "contentgen_cluster", "images", *options, cwd=root, env=times)
    digests = {}
    for title, built in sorted(json.loads(said)["index"].items()):
        name = title.removeprefix("contentgen-")
        path = (scratch / built["archive"]).rename(output / archive_name(name, origin.version))
        digests[name] = oci.verify(path)["digest"]
        if digests[name] != built["digest"]:
            raise ReleaseError(f"{path.name} contains {digests[name]}: the build reported {built['digest']}")
    return digests


def archive_name(name: str, version: str) -> str:
    """File name of an image's archive; `name` is such as operator."""
    return f"contentgen-{name}-{version}.oci.tar"


def signature_name(name: str, version: str) -> str:
    """File name of the signature of an image, or of the chart."""
    return f"contentgen-{name}-{version}.sig.oci.tar"
