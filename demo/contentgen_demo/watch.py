"""Wait for the resources to end, with a progress display."""

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.live import Live

from contentgen_cluster.release import CommandFailed
from contentgen_demo.cluster import DemoCluster
from contentgen_demo.samples import Manifest
from contentgen_try import progress
from contentgen_try.progress import View

_PERIOD_SECONDS = 0.7
_SILENCE_SECONDS = 20.0
Show = Callable[[Sequence[View], timedelta], None]


def watch(
    cluster: DemoCluster, manifests: Sequence[Manifest], console: Console, most: timedelta
) -> tuple[Manifest, ...]:
    """Resources once each has ended or waits for a user, or after `most`."""
    if not console.is_terminal:
        return _until_ended(cluster, manifests, most, _say_lines(console))
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(views: Sequence[View], elapsed: timedelta) -> None:
            live.update(progress.table(views, datetime.now(UTC), elapsed, console.width), refresh=True)

        return _until_ended(cluster, manifests, most, show)


def _say_lines(console: Console) -> Show:
    said: tuple[View, ...] = ()

    def show(views: Sequence[View], elapsed: timedelta) -> None:
        nonlocal said
        for line in progress.lines(said, views, elapsed):
            console.print(line, soft_wrap=True)
        said = progress.printed_views(said, views)

    return show


def _until_ended(
    cluster: DemoCluster, manifests: Sequence[Manifest], most: timedelta, show: Show
) -> tuple[Manifest, ...]:
    names = [f"{manifest['kind'].lower()}/{manifest['metadata']['name']}" for manifest in manifests]
    began = heard = time.monotonic()
    while True:
        try:
            resources = tuple(json.loads(cluster.kubectl("get", *names, "--output=json"))["items"])
        except CommandFailed:  # the API server may be unavailable briefly
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise
            time.sleep(_PERIOD_SECONDS)
            continue
        heard = time.monotonic()
        views = [progress.view(resource) for resource in resources]
        elapsed = timedelta(seconds=time.monotonic() - began)
        show(views, elapsed)
        if all(view.completed or view.stuck for view in views) or elapsed > most:
            return resources
        time.sleep(_PERIOD_SECONDS)
