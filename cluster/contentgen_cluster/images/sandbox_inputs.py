"""Inputs of the sandbox image other than Python: versitygw and the jars of mongo-java-server.

Both are built outside of the image's build, so that every builder finds them in `build/sandbox`. versitygw for another
architecture than this machine's has that in its name.
"""

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from contentgen_cluster.cache import ContentCache, content_key, size
from contentgen_cluster.images import golang, maven
from contentgen_cluster.images.layers import host_architecture
from contentgen_cluster.paths import REPO, SANDBOX_BUILD
from contentgen_cluster.steps import BuildStep

MONGO = REPO / "sandbox/mongo"


def steps(cache: ContentCache, architectures: Iterable[str] = ()) -> list[BuildStep]:
    """Build both in parallel and copy them into place; the last step is named `sandbox inputs`.

    `architectures` are further ones than this machine's.
    """
    others = sorted(architecture for architecture in architectures if architecture != host_architecture())
    return [
        BuildStep("versitygw", lambda: size(golang.versitygw(cache))),
        *(BuildStep(f"versitygw {each}", partial(_place_other, cache, each)) for each in others),
        BuildStep("mongo jars", lambda: size(jars(cache))),
        BuildStep(
            "sandbox inputs",
            lambda: place(cache),
            after=("versitygw", "mongo jars", *(f"versitygw {each}" for each in others)),
        ),
    ]


def key() -> str:
    """Hash of the inputs of both."""
    return content_key(MONGO, maven.COMPILER, maven.JAVA_VERSION, golang.VERSITYGW)


def jars(cache: ContentCache) -> Path:
    """Folder with the jars of mongo-java-server and of our class on it."""

    def build(target: Path) -> None:
        target.mkdir()
        fetched = maven.fetch((MONGO / "jars.sha256").read_text(), target)
        maven.compiled(MONGO / "MongoStore.java", fetched, target / maven.OURS)

    return cache.entry("mongo", content_key(MONGO, maven.COMPILER, maven.JAVA_VERSION), build)


def place(cache: ContentCache) -> str:
    """Copy both to where the Dockerfile expects them."""
    SANDBOX_BUILD.mkdir(parents=True, exist_ok=True)
    mark = SANDBOX_BUILD / ".key"
    if mark.exists() and mark.read_text() == key():
        return "cached"
    mark.unlink(missing_ok=True)
    shutil.rmtree(SANDBOX_BUILD / "mongo", ignore_errors=True)
    shutil.copytree(jars(cache), SANDBOX_BUILD / "mongo")
    program = SANDBOX_BUILD / "versitygw"
    program.unlink(missing_ok=True)  # one that runs cannot be written to
    shutil.copy2(golang.versitygw(cache), program)
    mark.write_text(key())
    return f"{SANDBOX_BUILD.relative_to(REPO)}"


def _place_other(cache: ContentCache, architecture: str) -> str:
    SANDBOX_BUILD.mkdir(parents=True, exist_ok=True)
    program = golang.versitygw_for(cache, architecture)
    shutil.copy2(program, SANDBOX_BUILD / f"versitygw-{architecture}")
    return size(program)
