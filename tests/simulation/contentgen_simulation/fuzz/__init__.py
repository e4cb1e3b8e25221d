"""Fuzz tests of all code that turns external names into paths, keys, filters and URLs; `make fuzz`.

Each target has an oracle that shares no code with the product, and a JSON corpus of former findings and hand-written
inputs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.strategies import SearchStrategy

CORPORA = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class FuzzTarget:
    """Fuzz target; `check` raises for a finding. Inputs are JSON values."""

    name: str
    inputs: SearchStrategy[Any]
    check: Callable[[Any], object]

    @property
    def path(self) -> Path:
        """Path of the corpus file."""
        return CORPORA / f"{self.name}.json"

    def corpus(self) -> list[Any]:
        """Inputs of the corpus."""
        kept: list[Any] = json.loads(self.path.read_text())
        return kept

    def keep(self, value: Any) -> None:
        """Append an input to the corpus."""
        self.path.write_text("[\n" + ",\n".join(map(json.dumps, [*self.corpus(), value])) + "\n]\n")


def fuzz(target: FuzzTarget, examples: int, seed: int | None = None, *, shrink: bool = True) -> None:
    """Check `examples` inputs; without a seed they are the same ones each time.

    Raises the exception of `check`, for the smallest input with `shrink`.
    """

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def run(value: Any) -> None:
        target.check(value)

    (run if seed is None else seeded(seed)(run))()
