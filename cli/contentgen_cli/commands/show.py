"""Tables and reports: wrapped on a terminal, plain lines without trailing spaces in a pipe."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from contentgen_cli import printing
from contentgen_cli.commands.why import ResourceReport
from contentgen_contract.advice.job_state import JobState, Tone
from contentgen_contract.characters import escape_controls

_STYLES = {Tone.GOOD: "green", Tone.BAD: "red", Tone.ATTENTION: "yellow", Tone.ACTIVE: "cyan", Tone.INFO: "blue"}


def print_plain(out: Console, what: RenderableType) -> None:
    """Print it; in a pipe without trailing spaces."""
    if out.is_terminal:
        out.print(what)
        return
    with out.capture() as captured:
        out.print(what)
    printing.say(*(line.rstrip() for line in captured.get().split("\n")[:-1]))


def table(heads: Sequence[str], rows: Sequence[Sequence[str | Text]], right: Sequence[str] = ()) -> Table:
    """Table in kubectl's style; long cells are wrapped, not truncated. `right`: right-aligned columns.

    Control characters of texts are escaped before they are laid out.
    """
    made = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold", justify="right" if head in right else "left")
    for row in rows:
        made.add_row(*cells(row))
    return made


def cells(row: Sequence[RenderableType]) -> list[RenderableType]:
    """Cells with the control characters of texts escaped."""
    return [escape_controls(cell) if isinstance(cell, str) else cell for cell in row]


def badge(state: JobState) -> Text:
    """A state with its colour."""
    return Text(state.badge, style=_STYLES.get(state.tone, ""))


def print_report(out: Console, report: ResourceReport, commands: Sequence[str]) -> None:
    """Print the report of `why`."""
    print_plain(out, Text(escape_controls(report.headline), style="bold"))
    body = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False, show_header=False)
    body.add_column(style="dim", no_wrap=True)
    body.add_column(overflow="fold")
    for name, lines in report.parts:
        for number, line in enumerate(lines):
            body.add_row("" if number else name, escape_controls(line))
    for number, command in enumerate(commands):
        body.add_row("" if number else "Next", Text(escape_controls(command), style="bold"))
    print_plain(out, body)
