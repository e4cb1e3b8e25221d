"""`python -m contentgen_real`: the checklist of docs/test-real.md.

Exit status 0: each step that ran passed; 1: a step failed or differed from the facts; 2: nothing was sent; 130:
interrupted.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import httpx
from pydantic import ValidationError

from contentgen_real import journal as journals
from contentgen_real.checklist import CHECKLIST
from contentgen_real.consent import NotAgreed, agreed, require_switch
from contentgen_real.place import SECRETS, ProviderPlace
from contentgen_real.plan import Choice, most_usd, planned
from contentgen_real.run import run

_NOTHING_SENT, _INTERRUPTED = 2, 130


def main(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    print_line: Callable[[str], None],
    ask: Callable[[str], str] | None,
    transport: httpx.MockTransport | None = None,
) -> int:
    """The exit status. `ask` is None if there is no terminal; `transport` replaces the network."""
    say = _without_secrets(environment, print_line)
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        try:
            require_switch(environment)
            place = ProviderPlace.of(environment)
            choice = Choice(most_usd(environment), options.later, frozenset(options.only), frozenset(options.again))
            journal = stack.enter_context(journals.opened(place.folder))
            plan = planned(CHECKLIST, environment, journal, choice)
            agreed(place, plan, journal.spent, say, ask)
        except (NotAgreed, EOFError) as error:
            say(str(error) or "Not agreed to, so nothing was sent.")
            return _NOTHING_SENT
        except (journals.JournalBusy, ValidationError, ValueError) as error:
            say(f"Nothing was sent: {error}")
            return _NOTHING_SENT
        try:
            result = asyncio.run(run(place, journal, plan, say, transport))
        except KeyboardInterrupt:
            say("Interrupted. The step that was under way counts as paid, and is not bought again without --again.")
            return _INTERRUPTED
    return 1 if result.failed else 0


def _parser() -> argparse.ArgumentParser:
    names = [step.name for step in CHECKLIST]
    parser = argparse.ArgumentParser("contentgen_real", description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=names, help="this step; may be repeated")
    parser.add_argument("--again", action="append", default=[], choices=names, help="buy this step again")
    parser.add_argument("--later", action="store_true", help="the steps of an hour later, such as billing events")
    return parser


def _without_secrets(environment: Mapping[str, str], print_line: Callable[[str], None]) -> Callable[[str], None]:
    """Printer that replaces the values of keys, whatever text has them."""
    secrets = sorted((environment[name] for name in SECRETS if environment.get(name)), key=len, reverse=True)

    def say(text: str) -> None:
        for secret in secrets:
            text = text.replace(secret, "***")
        print_line(text)

    return say


if __name__ == "__main__":
    sys.exit(
        main(sys.argv[1:], os.environ, lambda text: print(text, flush=True), input if sys.stdin.isatty() else None)
    )
