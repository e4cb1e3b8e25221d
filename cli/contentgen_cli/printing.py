"""Output of all commands. No other module prints, so that control characters of a status, a log or an answer never
reach a terminal.
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from contentgen_contract.characters import escape_controls

if TYPE_CHECKING:
    from rich.console import Console

_UNBOUNDED = 10_000  # columns: no wrapping in a pipe


def say(*lines: str, err: bool = False) -> None:
    """Print lines on standard output, or on standard error; a newline within a line is escaped too."""
    for line in lines:
        print(escape_controls(line, "\t"), file=sys.stderr if err else sys.stdout, flush=True)


def say_json(value: Any) -> None:
    """Print JSON; its encoder escapes control characters, except DEL."""
    import json

    print(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def console(**options: Any) -> "Console":
    """Console on standard output: colours and wrapping on a terminal, unwrapped plain lines in a pipe."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class _Console(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for each in super().render(renderable, options):
                text = each.text if each.control else escape_controls(each.text, "\n")
                yield each if text == each.text else Segment(text, each.style)

    plain: dict[str, Any] = {"highlight": False, "emoji": False, "markup": False} | options
    made = _Console(**plain)
    return made if made.is_terminal else _Console(**({"width": _UNBOUNDED, "no_color": True} | plain))
