"""Progress of resources: a live table on a terminal, a line per change in a pipe; ends when all runs are over."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from contentgen_cli import printing
from contentgen_cli.commands import show
from contentgen_cli.errors import ApiUnreachable, CliError
from contentgen_cli.item import Item, age, utc_now
from contentgen_contract.resources.operator_class import DEFAULT_CLASS

Read = Callable[[], Sequence[Item]]
_PAUSE = 1.0
_WIDE = 100  # columns; a narrower terminal omits costs
_UNANSWERED = 30  # consecutive failed reads before the error is raised


def watch(out: Console, read: Read, *, namespaces: bool, timeout: float | None, pause: float = _PAUSE) -> int:
    """Exit status: 0 if all are Completed, else 1. Raises CliError after `timeout` seconds."""
    views = _poll(read, timeout, pause)
    last: Sequence[Item] = ()
    if out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            for last in views:
                wide = out.width >= _WIDE
                live.update(_table(last, utc_now(), namespaces=namespaces, wide=wide), refresh=True)
    else:
        printed: dict[str, str] = {}
        for last in views:
            for item in last:
                line = _line(item, namespaces=namespaces)
                if printed.get(item.uid) != line:
                    printed[item.uid] = line
                    printing.say(f"{utc_now():%H:%M:%S} {line}")
    return int(not all(item.succeeded for item in last))


def _poll(read: Read, timeout: float | None, pause: float) -> Iterator[Sequence[Item]]:
    deadline = None if timeout is None else time.monotonic() + timeout
    unanswered = 0
    while True:
        try:
            items = read()
            unanswered = 0
            yield items
            if all(item.idle for item in items):
                return
        except ApiUnreachable:
            unanswered += 1
            if unanswered == _UNANSWERED:
                raise
        if deadline is not None and time.monotonic() > deadline:
            raise CliError(f"not all runs are over after {timeout:g} s")
        time.sleep(pause)


def _table(items: Sequence[Item], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    place, price = (["NAMESPACE"] if namespaces else []), (["COST"] if wide else [])
    classes = ["CLASS"] if any(item.operator_class != DEFAULT_CLASS for item in items) else []
    heads = (*place, "NAME", *classes, "STATE", "", "%", "STAGE", "ETA", *price)
    table = show.table(heads, [], right=("%", "COST"))
    table.padding = (0, 2, 0, 0)
    for item in items:
        status = item.status
        row = (
            show.badge(item.state),
            ProgressBar(completed=status.progress, width=10),
            str(status.progress),
            _activity(item),
            age(now, status.estimated_completion_time) if status.estimated_completion_time else "",
        )
        paid = status.cost.display if status.cost else ""
        named = ([item.namespace] if namespaces else []) + [item.reference] + ([item.operator_class] if classes else [])
        table.add_row(*show.cells((*named, *row, *([paid] if wide else []))))
    return table


def _activity(item: Item) -> str:
    """The reason if it differs from the phase, else the stage."""
    status = item.status
    if status.reason and status.reason != status.phase:
        return status.reason
    return str(status.stage or "")


def _line(item: Item, *, namespaces: bool) -> str:
    status = item.status
    place = f"{item.namespace}/" if namespaces else ""
    of_class = "" if item.operator_class == DEFAULT_CLASS else f" (class {item.operator_class})"
    return f"{place}{item.reference}{of_class} {item.state.badge} {status.progress} % {_activity(item)}".rstrip()
