"""Form of a step of `make test-real`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from contentgen_real.context import StepContext


@dataclass(frozen=True)
class CheckStep:
    """One step: what it shows, the upper bound of its price in US dollars, and the variables that must be set."""

    name: str
    shows: str
    usd: Decimal
    needs: tuple[str, ...]
    run: Callable[[StepContext], Awaitable[None]]
    later: bool = False  # an hour after the others
