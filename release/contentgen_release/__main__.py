"""Command line of `make release` and others: `python -m contentgen_release build`, `verify`, `publish`, `check`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from contentgen_cluster import paths
from contentgen_cluster.cache import ContentCache
from contentgen_cluster.commands import ClusterError
from contentgen_cluster.images import golang, wheels
from contentgen_cluster.release import CommandFailed
from contentgen_demo.errors import DemoError
from contentgen_release import registry as registries
from contentgen_release import signing, source, verification
from contentgen_release.artifacts import images
from contentgen_release.build import ReleasePlan
from contentgen_release.build import build as build_release
from contentgen_release.check import check as release_check
from contentgen_release.errors import ReleaseError

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
REGISTRY = "ghcr.io/contentgen"
DOWNLOADS = "https://github.com/contentgen/contentgen/releases/download/v{version}"


@app.command()
def build(  # noqa: PLR0917 # typer: one parameter for each option
    version: Annotated[str, typer.Option(help="version without v, such as 1.2.3 or 1.2.3-rc.1")],
    registry: Annotated[str, typer.Option(envvar="REGISTRY", help="prefix of the images' names")] = REGISTRY,
    downloads: Annotated[str, typer.Option(envvar="DOWNLOADS", help="URL of the folder with the files")] = DOWNLOADS,
    key: Annotated[str, typer.Option(envvar="KEY", help="file with the private key: PEM, ECDSA P-256")] = "",
    platforms: Annotated[str, typer.Option(envvar="PLATFORMS", help="of the images; none: no images")] = ",".join(
        images.PLATFORMS
    ),
    allow_dirty: Annotated[bool, typer.Option(envvar="ALLOW_DIRTY", help="also if files are not committed")] = False,
) -> None:
    """Write all artifacts of a version into dist/release/VERSION."""
    started = time.monotonic()
    plan = ReleasePlan(
        root=paths.REPO,
        origin=source.source(paths.REPO, source.valid_version(version), allow_dirty=allow_dirty),
        helm=wheels.kubectl_and_helm(_cache()) / "helm",
        registry=registry or REGISTRY,
        downloads=(downloads or DOWNLOADS).format(version=version),
        platforms=[] if platforms == "none" else (platforms or ",".join(images.PLATFORMS)).split(","),
        signer=signing.load_signer(Path(key)) if key else None,
    )
    folder = build_release(plan, print)
    signed = "signed" if plan.signer else "not signed: KEY= names no key"
    print(f"{folder.relative_to(paths.REPO)}: {signed}; {time.monotonic() - started:.0f} s")


@app.command()
def verify(
    version: Annotated[str, typer.Option(help="of dist/release; empty: the newest")] = "",
    public_key: Annotated[str, typer.Option(envvar="PUBKEY", help="key that must have signed")] = "",
) -> None:
    """Verify checksums, signatures and archives of a release, without a cluster."""
    verification.verify(_folder(version), Path(public_key) if public_key else None, print)


@app.command()
def publish(
    version: Annotated[str, typer.Option(help="of dist/release; empty: the newest")] = "",
    registry: Annotated[str, typer.Option(envvar="REGISTRY", help="other registry than the release's")] = "",
    public_key: Annotated[str, typer.Option(envvar="PUBKEY", help="key that must have signed")] = "",
) -> None:
    """Push images, chart and signatures of a verified release to a registry."""
    release = verification.verify(_folder(version), Path(public_key) if public_key else None, print)
    registries.publish(release, registry or release.registry, golang.crane(_cache()), print)


@app.command()
def check(
    version: Annotated[str, typer.Option(help="of dist/release; empty: the newest")] = "",
    public_key: Annotated[str, typer.Option(envvar="PUBKEY", help="key that must have signed")] = "",
) -> None:
    """Install a release from its own files on the running cluster, use it and uninstall it."""
    release = verification.verify(_folder(version), Path(public_key) if public_key else None, print)
    release_check(paths.REPO, release, golang.crane(_cache()), print)


def _folder(version: str) -> Path:
    parent = paths.REPO / "dist/release"
    return parent / source.valid_version(version) if version else verification.newest(parent)


def _cache() -> ContentCache:
    root = paths.cache_root()
    root.mkdir(parents=True, exist_ok=True)
    return ContentCache(root)


def main() -> None:
    """Run the command line; expected errors are printed as text, others as tracebacks."""
    try:
        app()
    except (ReleaseError, ClusterError, CommandFailed, DemoError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
