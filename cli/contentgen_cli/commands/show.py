"""Output: colours and wrapping on a terminal, unwrapped plain lines in a pipe."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from contentgen_cli.commands.why import ResourceReport
from contentgen_contract.names import Phase

_UNBOUNDED = 10_000  # columns: no wrapping in a pipe
_STYLES = {Phase.COMPLETED: "green", Phase.FAILED: "red", Phase.SUBMISSION_UNKNOWN: "red", Phase.SUSPENDED: "yellow",
           Phase.AWAITING_APPROVAL: "yellow"}  # fmt: skip


def console(*, stderr: bool = False) -> Console:
    """Console on standard output or standard error."""
    made = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, emoji=False, markup=False,
                                                 width=_UNBOUNDED, no_color=True)  # fmt: skip


def print_plain(out: Console, what: RenderableType) -> None:
    """Print it; in a pipe without trailing spaces."""
    if out.is_terminal:
        out.print(what)
        return
    with out.capture() as captured:
        out.print(what)
    for line in captured.get().splitlines():
        print(line.rstrip())


def table(heads: Sequence[str], rows: Sequence[Sequence[str | Text]], right: Sequence[str] = ()) -> Table:
    """Table in kubectl's style; long cells are wrapped, not truncated. `right`: right-aligned columns."""
    made = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold", justify="right" if head in right else "left")
    for row in rows:
        made.add_row(*row)
    return made


def phase(value: Phase | None) -> Text:
    """A phase with its colour."""
    return Text(value.value if value else "", style=_STYLES.get(value, "cyan") if value else "")


def print_report(out: Console, report: ResourceReport, commands: Sequence[str]) -> None:
    """Print the report of `why`."""
    print_plain(out, Text(report.headline, style="bold"))
    body = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False, show_header=False)
    body.add_column(style="dim", no_wrap=True)
    body.add_column(overflow="fold")
    for name, lines in report.parts:
        for number, line in enumerate(lines):
            body.add_row("" if number else name, line)
    for number, command in enumerate(commands):
        body.add_row("" if number else "Next", Text(command, style="bold"))
    print_plain(out, body)
