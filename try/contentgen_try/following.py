"""Resources followed until each has ended: a live table on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.live import Live

from contentgen_try import progress
from contentgen_try.progress import View

_PERIOD_SECONDS = 0.5
_SILENCE_SECONDS = 20.0
Body = dict[str, Any]
_Show = Callable[[Sequence[View], timedelta], None]


def follow(
    console: Console, read: Callable[[], tuple[Body, ...]], most: timedelta, *, unavailable: tuple[type[Exception], ...]
) -> tuple[Body, ...]:
    """Resources once each has ended or waits for a person, or after `most`.

    `read` may raise the errors of `unavailable` for 20 s, because the API server may be away briefly.
    """
    if not console.is_terminal:
        return _until_ended(read, most, unavailable, _lines(console))
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(views: Sequence[View], elapsed: timedelta) -> None:
            live.update(progress.table(views, datetime.now(UTC), elapsed, console.width), refresh=True)

        return _until_ended(read, most, unavailable, show)


def _lines(console: Console) -> _Show:
    said: tuple[View, ...] = ()

    def show(views: Sequence[View], elapsed: timedelta) -> None:
        nonlocal said
        for line in progress.lines(said, views, elapsed):
            console.print(line, soft_wrap=True)
        said = progress.printed_views(said, views)

    return show


def _until_ended(
    read: Callable[[], tuple[Body, ...]], most: timedelta, unavailable: tuple[type[Exception], ...], show: _Show
) -> tuple[Body, ...]:
    began = heard = time.monotonic()
    while True:
        try:
            resources = read()
        except unavailable:
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise
            time.sleep(_PERIOD_SECONDS)
            continue
        heard = time.monotonic()
        views = [progress.view(resource) for resource in resources]
        elapsed = timedelta(seconds=heard - began)
        show(views, elapsed)
        if all(view.completed or view.stuck for view in views) or elapsed > most:
            return resources
        time.sleep(_PERIOD_SECONDS)
