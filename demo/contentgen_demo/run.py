"""Steps of the demo until the resources have ended: install, generate the video, apply, watch."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from contentgen_cluster.release import CommandFailed
from contentgen_demo import media, samples
from contentgen_demo.cluster import NAMESPACE, SANDBOX_ADDRESS, SANDBOX_PATH, DemoCluster
from contentgen_demo.errors import DemoError
from contentgen_demo.film import video
from contentgen_demo.film.video import Film
from contentgen_demo.samples import Manifest
from contentgen_try.progress import follow

LEDGER_PATH = f"{SANDBOX_PATH}/sandbox/ledger"


@dataclass(frozen=True)
class Done:
    """Resources at the end of the watch, and the ledger before it."""

    resources: tuple[Manifest, ...]
    ledger_before: dict[str, Any]
    folder: Path


class _Steps:
    """Step display: a line per finished step, a spinner for the current one."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, doing: str) -> Iterator[list[str]]:
        """Show a step; the context's list collects the text for its final line."""
        summary: list[str] = []
        began = time.monotonic()
        with self._console.status(f"{doing} …"):
            yield summary
        took = time.monotonic() - began
        self._console.print(f"[green]✓[/] {escape(' '.join(summary))} [dim]{took:.1f}s[/]", soft_wrap=True)


def run(cluster: DemoCluster, console: Console, chosen: str | None, most: timedelta) -> Done:
    """Run all steps. Raises DemoError, CommandFailed."""
    cluster.check()
    if chosen and not media.is_url(chosen) and not Path(chosen).is_file():
        raise DemoError(f"{chosen} does not exist: give the path or the URL of a video")
    steps = _Steps(console)
    film = _in_background()
    with steps.step("Installing the chart") as summary:
        cluster.install()
        summary.append("chart [contentgen] installed; the sandbox provides the providers, S3 and MongoDB")
    url = _source(cluster, console, steps, chosen, film)
    ledger = cluster.raw(LEDGER_PATH)
    manifests = _apply(cluster, console, url)
    names = [f"{manifest['kind'].lower()}/{manifest['metadata']['name']}" for manifest in manifests]

    def read() -> tuple[Manifest, ...]:
        return tuple(json.loads(cluster.kubectl("get", *names, "--output=json"))["items"])

    resources = follow(console, read, most, unavailable=(CommandFailed,))
    return Done(resources, ledger, Path("build/demo") / manifests[0]["metadata"]["name"])


def _in_background() -> "Future[Film]":
    """Run in a thread: rendering the video and starting pods are both slow the first time."""
    future: Future[Film] = Future()

    def make() -> None:
        try:
            future.set_result(video.ensure_film())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=make, daemon=True).start()  # a daemon: Ctrl-C does not wait for it
    return future


def _source(cluster: DemoCluster, console: Console, steps: _Steps, chosen: str | None, film: "Future[Film]") -> str:
    """URL for the manifests. The video is uploaded in any case, because the samples refer to it."""
    try:
        path = _serve_film(cluster, steps, film)
    except DemoError as error:
        if chosen is None:
            raise
        console.print(f"[yellow]![/] the video that samples/ refer to is missing: {escape(str(error))}", soft_wrap=True)
    if chosen and media.is_url(chosen):
        return chosen
    if chosen:
        path = Path(chosen)
    with steps.step("Uploading the video to the sandbox") as summary:
        name, was_there = media.upload(path, cluster.port("http"))
        summary.append(f"{name} {'is already in' if was_there else 'uploaded to'} the sandbox")
    return f"http://{SANDBOX_ADDRESS}/media/{name}"


def _serve_film(cluster: DemoCluster, steps: _Steps, film: "Future[Film]") -> Path:
    """Upload the video under the name in the samples. Raises DemoError."""
    with steps.step("Generating a video of one minute with speech") as summary:
        made = film.result()
        kept = "cached" if made.was_cached else "generated"
        summary.append(f"video of {made.seconds:.0f} s, {kept}: {_short(made.path)}")
    with steps.step("Uploading the video to the sandbox for samples/") as summary:
        name, was_there = media.upload(made.path, cluster.port("http"), media.SAMPLES_NAME)
        summary.append(f"{name} (the source in samples/) {'is already in' if was_there else 'uploaded to'} the sandbox")
    return made.path


def _apply(cluster: DemoCluster, console: Console, url: str) -> tuple[Manifest, ...]:
    """Write the manifests to a file, keep it, and apply it with kubectl."""
    originals = [yaml.safe_load(path.read_text()) for path in sorted(Path("samples").glob("*.yaml"))]
    taken = {line.rpartition("/")[2] for line in cluster.kubectl("get", "contentgen", "--output=name").splitlines()}
    manifests = samples.fresh_samples(originals, url, datetime.now(), taken)  # noqa: DTZ005 - a name by the user's clock
    file = Path("build/demo") / f"{manifests[0]['metadata']['name']}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(samples.as_yaml(manifests))
    console.print(f"\n[bold]$ kubectl -n {NAMESPACE} apply -f {file}[/]", soft_wrap=True)
    console.print(cluster.kubectl("apply", f"--filename={file}").strip(), style="dim", soft_wrap=True)
    # `--watch` takes one kind only, and `contentgen` stands for three.
    console.print(f"[bold]$ watch kubectl -n {NAMESPACE} get contentgen[/]\n", soft_wrap=True)
    return manifests


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
