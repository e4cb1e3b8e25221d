"""Short deterministic runs of the fuzzers; `make fuzz MINUTES=10` uses new inputs."""

import re
from typing import Any

import httpx
import pytest

from contentgen_contract import api_paths
from contentgen_contract.records import keys
from contentgen_gateway.stores import queries
from contentgen_operator.providers import fal
from contentgen_operator.state import provider_requests
from contentgen_operator.worker_api import authentication
from contentgen_simulation.fuzz import CORPORA, FuzzTarget, fuzz
from contentgen_simulation.fuzz.targets import CURSORS, FILTERS, KEYS, OWNERS, PATHS, PROVIDERS, TARGETS

# The SDK uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

EXAMPLES = 100


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_inputs_once_found_stay_fixed(target: FuzzTarget) -> None:
    kept = target.corpus()
    assert kept
    for value in kept:
        target.check(value)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_is_a_finding(target: FuzzTarget) -> None:
    fuzz(target, EXAMPLES)


def test_corpora_are_small() -> None:
    assert sum(path.stat().st_size for path in CORPORA.iterdir()) < 100_000


ANYTHING = re.compile(r".*", re.DOTALL)
HOLES: dict[str, tuple[FuzzTarget, tuple[object, str, Any]]] = {
    "any name in a path": (PATHS, (api_paths, "_SUBDOMAIN", ANYTHING)),
    "any namespace in a path": (PATHS, (api_paths, "_LABEL", ANYTHING)),
    "a query as it is": (PATHS, (api_paths, "_encoded", lambda query: "&".join(f"{k}={v}" for k, v in query.items()))),
    "any part of a key": (KEYS, (keys, "_PART", ANYTHING)),
    "any user's words as a filter": (FILTERS, (queries, "_conditions", lambda wanted: [{wanted.user_id or "a": 1}])),
    "everybody's records": (FILTERS, (queries.Scope, "filter", lambda _: {})),
    "any id of a request": (PROVIDERS, (provider_requests, "_REQUEST_ID", ANYTHING)),
    "any model": (PROVIDERS, (fal, "_MODEL", ANYTHING)),
    "any controller": (OWNERS, (authentication, "_controlling_job", lambda *_: "recorded")),
    "any cursor's value": (CURSORS, (queries, "_cursor_value", lambda value, _: value)),
}


@pytest.mark.parametrize(("target", "hole"), HOLES.values(), ids=HOLES)
def test_a_planted_hole_is_found(
    monkeypatch: pytest.MonkeyPatch, target: FuzzTarget, hole: tuple[object, str, Any]
) -> None:
    monkeypatch.setattr(*hole)
    with pytest.raises((AssertionError, IndexError, KeyError, OverflowError, ValueError, httpx.InvalidURL)):
        _short_run(target)


def _short_run(target: FuzzTarget) -> None:
    for value in target.corpus():
        target.check(value)
    fuzz(target, EXAMPLES, shrink=False)
