"""Progress display: a status table on a terminal, lines elsewhere; and the loop that shows it until all have ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from contentgen_contract.advice.job_state import JobState, state_of_resource
from contentgen_contract.names import Reason

_COLOURS = {
    "Completed": "green",
    "Failed": "bold red",
    "SubmissionUnknown": "bold red",
    "Processing": "magenta",
    "Collecting": "cyan",
    "Preparing": "cyan",
}
_OTHER_COLUMNS = 93  # columns of the table that are not the bar
_SHORTEST_BAR = 5
_PERIOD_SECONDS = 0.5
_SILENCE_SECONDS = 20.0
Body = dict[str, Any]


@dataclass(frozen=True)
class View:
    """Resource status as displayed in the table."""

    kind: str
    name: str
    phase: str
    progress: int
    stage: str
    eta: datetime | None
    cost: str
    reason: str
    message: str
    state: JobState
    started: datetime | None
    ended: datetime | None

    @property
    def completed(self) -> bool:
        """Whether the resource is Completed."""
        return self.phase == "Completed"

    @property
    def stuck(self) -> bool:
        """Whether it ended in another phase or waits for a person."""
        return self.waits_for_person or self.phase == "Failed"

    @property
    def waits_for_person(self) -> bool:
        """Whether nothing happens until a person acts, such as where its LoRA is missing. A cluster is confirmed by
        this command itself.
        """
        return self.state.needs_person and self.reason != Reason.CLUSTER_NOT_CONFIRMED

    @property
    def took(self) -> timedelta | None:
        """Time from start to completion; None if unfinished."""
        return self.ended - self.started if self.started and self.ended else None


def view(resource: dict[str, Any]) -> View:
    """Displayed status of a resource; the status may be missing."""
    status = resource.get("status", {})
    phase = status.get("phase") or ""
    reason = status.get("reason") or ""
    return View(
        kind=resource["kind"],
        name=resource["metadata"]["name"],
        phase=phase,
        progress=status.get("progress", 0),
        stage=status.get("stage") or "",
        eta=_time(status.get("estimatedCompletionTime")),
        cost=status.get("cost", {}).get("display", ""),
        reason="" if reason == phase else reason,
        message=status.get("message") or "",
        state=state_of_resource(resource),
        started=_time(status.get("startTime")),
        ended=_time(status.get("completionTime")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def duration(span: timedelta | None) -> str:
    """Duration such as `42s` or `3m 07s`; empty if unknown."""
    if span is None:
        return ""
    seconds = max(0, round(span.total_seconds()))
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m {seconds % 60:02}s"


def _eta(each: View, now: datetime) -> str:
    if each.completed or each.stuck or each.eta is None:
        return ""
    return f"~{duration(each.eta - now)}" if each.eta > now else "soon"


def table(views: Sequence[View], now: datetime, elapsed: timedelta, width: int) -> RenderableType:
    """Live table for a terminal of `width` columns; narrow terminals get no bars and times."""
    bar = min(width - _OTHER_COLUMNS, 30)
    roomy = bar >= _SHORTEST_BAR
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold dim")
    for heading in ("KIND", "NAME", "PHASE", "PROGRESS", "STAGE", *(["ETA"] if roomy else []), "COST"):
        made.add_column(heading, no_wrap=True)
    made.add_column("REASON", overflow="ellipsis")  # the one that gives way
    for view in views:
        made.add_row(
            view.kind,
            view.name,
            Text(view.phase or "—", _COLOURS.get(view.phase, "")),
            _bar(view, bar) if roomy else f"{view.progress}%",
            "" if view.completed else view.stage,
            *([_eta(view, now)] if roomy else []),
            view.cost,
            Text(view.reason, "yellow"),
        )
    notes = [
        Text(f"{view.kind} {view.name}: {view.state.sentence}", "yellow") for view in views if view.waits_for_person
    ]
    return Group(made, *notes, Text(f"{duration(elapsed)} since apply", "dim"))


def _bar(each: View, width: int) -> RenderableType:
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=width)
    row.add_column(width=4, justify="right")
    style = "red" if each.stuck else "cyan"
    bar = ProgressBar(100, each.progress, width=width, complete_style=style, finished_style="green")
    row.add_row(bar, f"{each.progress}%")
    return row


def lines(before: Sequence[View], after: Sequence[View], elapsed: timedelta) -> list[str]:
    """A line for each resource with a notable change since `before`, the views that were printed last, and one for what
    a person must do.
    """
    known = {(view.kind, view.name): view for view in before}
    changed = [view for view in after if _differs(known.get((view.kind, view.name)), view)]
    return [line for view in changed for line in (_line(view, elapsed), *_notes(view))]


def _notes(each: View) -> list[str]:
    return [f"{'':>7}  {each.state.sentence}"] if each.waits_for_person else []


def printed_views(before: Sequence[View], after: Sequence[View]) -> tuple[View, ...]:
    """Views that were printed last once `lines(before, after, …)` are printed."""
    known = {(view.kind, view.name): view for view in before}
    return tuple(
        view if old is None or _differs(old, view) else old
        for view in after
        for old in (known.get((view.kind, view.name)),)
    )


def _differs(old: View | None, new: View) -> bool:
    if old is None:
        return bool(new.phase)  # without a status nothing is known yet
    if (old.phase, old.stage, old.reason) != (new.phase, new.stage, new.reason):
        return True
    return new.progress - old.progress >= 10


def _line(each: View, elapsed: timedelta) -> str:
    words = [
        f"{each.phase:<10} {each.progress:>3}%",
        "" if each.completed else each.stage,
        each.cost,
        each.reason,
    ]
    said = "  ".join(word for word in words if word)
    return f"{duration(elapsed):>7}  {each.kind:<15} {each.name}  {said}"


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
            live.update(table(views, datetime.now(UTC), elapsed, console.width), refresh=True)

        return _until_ended(read, most, unavailable, show)


def _lines(console: Console) -> _Show:
    said: tuple[View, ...] = ()

    def show(views: Sequence[View], elapsed: timedelta) -> None:
        nonlocal said
        for line in lines(said, views, elapsed):
            console.print(line, soft_wrap=True)
        said = printed_views(said, views)

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
        views = [view(resource) for resource in resources]
        elapsed = timedelta(seconds=heard - began)
        show(views, elapsed)
        if all(shown.completed or shown.stuck for shown in views) or elapsed > most:
            return resources
        time.sleep(_PERIOD_SECONDS)
