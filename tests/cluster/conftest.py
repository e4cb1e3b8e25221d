"""The cluster tests' surroundings: the release with the sandbox, a namespace of this run's own, a film to work on."""

import time
from collections.abc import Iterator

import pytest

from contentgen_cluster import release
from contentgen_demo import video
from contentgen_e2e.settings import ASSEMBLYAI_CANARY, FAL_CANARY, ROOT
from contentgen_e2e.world import World, open_world


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The installed release, and a fresh namespace."""
    release.install(ROOT, f"providers.fal.key={FAL_CANARY}", f"providers.assemblyai.key={ASSEMBLYAI_CANARY}")
    with open_world(ROOT, f"e2e-{int(time.time())}") as opened:
        yield opened


@pytest.fixture(scope="session")
def film(world: World) -> str:
    """The address of a film with sound, as a worker reaches it."""
    path = video.ensure_film().path
    name = f"e2e-{path.stem}.mp4"
    with path.open("rb") as content:
        world.sandbox.put(f"/media/{name}", content=content).raise_for_status()
    return f"http://contentgen-sandbox.{release.NAMESPACE}.svc/media/{name}"
