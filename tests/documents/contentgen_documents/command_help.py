"""Checks of kubectl and helm commands that no test runs, by the programs' `--help`."""

import re
from collections.abc import Callable, Sequence

Help = Callable[..., str]
"""Runs the program with arguments and returns its output; raises if it fails."""
_VALUED = frozenset({"-n", "--namespace"})


def problems(words: Sequence[str], ask: Help) -> list[str]:
    """Subcommands and flags of a command that `kubectl` or `helm` does not know."""
    program, *arguments = words
    verbs: list[str] = []
    while arguments and (arguments[0] in _VALUED or not arguments[0].startswith("-")) and len(verbs) < 2:
        if arguments[0] in _VALUED:
            arguments = arguments[2:]
        else:
            verbs.append(arguments.pop(0))
    help_text = ask(*verbs, "--help")
    if not re.search(rf"^\s+{program}(?: \S+)* {re.escape(verbs[0])}\b", help_text, re.MULTILINE):
        return [f"{program} has no {verbs[0]}"]
    known = help_text + (ask("options") if program == "kubectl" else "")
    given = [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]
    return [f"{' '.join([program, *verbs])} has no {flag}" for flag in given if not _has(known, flag)]


def _has(help_text: str, flag: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", help_text) is not None
