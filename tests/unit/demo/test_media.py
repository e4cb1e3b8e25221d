"""Uploads of the demo to the sandbox, which include the source in samples/."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import httpx
import pytest
import yaml
from rich.console import Console

from contentgen_demo import media, run
from contentgen_demo.cluster import SANDBOX_ADDRESS, DemoCluster
from contentgen_demo.errors import DemoError
from contentgen_demo.film.video import Film
from contentgen_sandbox.testing import SandboxServer, sandbox_server

SAMPLES = Path(__file__).parents[3] / "samples"
FILM, OWN = b"the film of the demo", b"a video of the user's"


class Sandbox:
    """Fake cluster with the sandbox's port only."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])

    def port(self, name: str) -> int:
        assert name == "http"
        return self._port


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with sandbox_server() as started:
        yield started


@pytest.fixture
def film(tmp_path: Path) -> "Future[Film]":
    path = tmp_path / "talk-0123456789ab.mp4"
    path.write_bytes(FILM)
    made: Future[Film] = Future()
    made.set_result(Film(path, 66.0, was_cached=True))
    return made


def source(server: SandboxServer, chosen: str | None, film: "Future[Film]", console: Console | None = None) -> str:
    """Source URL in the demo's manifests."""
    console = console or Console(quiet=True)
    return run._source(cast("DemoCluster", Sandbox(server.url)), console, run._Steps(console), chosen, film)


def served(server: SandboxServer, url: str) -> bytes:
    return httpx.get(url.replace(f"http://{SANDBOX_ADDRESS}", server.url), timeout=60).raise_for_status().content


def test_samples_name_what_the_demo_serves() -> None:
    """Precondition of the README's next step, `kubectl apply -f samples/`."""
    named = [yaml.safe_load(path.read_text())["spec"].get("source", {}).get("url") for path in SAMPLES.glob("*.yaml")]
    assert {url for url in named if url} == {f"http://contentgen-sandbox.contentgen.svc/media/{media.SAMPLES_NAME}"}


def test_film_is_served_by_digest_and_by_sample_name(server: SandboxServer, film: "Future[Film]") -> None:
    url = source(server, None, film)
    assert url == f"http://{SANDBOX_ADDRESS}/media/{media.media_name(film.result().path)}"
    assert served(server, url) == FILM
    assert served(server, f"{server.url}/media/{media.SAMPLES_NAME}") == FILM


def test_a_video_of_ones_own_leaves_the_samples_their_film(
    server: SandboxServer, film: "Future[Film]", tmp_path: Path
) -> None:
    own = tmp_path / "own.mov"
    own.write_bytes(OWN)
    url = source(server, str(own), film)
    assert (url.endswith(".mov"), served(server, url)) == (True, OWN)
    assert source(server, "https://example.com/own.mp4", film) == "https://example.com/own.mp4"
    assert served(server, f"{server.url}/media/{media.SAMPLES_NAME}") == FILM


def test_another_film_takes_the_place_of_the_one_before(server: SandboxServer, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    for content, was_there in ((b"first", False), (b"first", True), (b"the second", False)):
        path.write_bytes(content)
        assert media.upload(path, Sandbox(server.url).port("http"), "replaced.mp4") == ("replaced.mp4", was_there)
        assert served(server, f"{server.url}/media/replaced.mp4") == content


def test_without_a_film_a_video_of_ones_own_goes_on_and_says_so(server: SandboxServer) -> None:
    missing: Future[Film] = Future()
    missing.set_exception(DemoError("espeak-ng cannot speak"))
    console = Console(record=True, quiet=False, width=200)
    with console.capture() as said:
        assert source(server, "https://example.com/own.mp4", missing, console) == "https://example.com/own.mp4"
    assert "the video that samples/ refer to is missing: espeak-ng cannot speak" in said.get()
    with pytest.raises(DemoError):
        source(server, None, missing)
