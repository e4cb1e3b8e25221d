"""Sample of the campaign over mutated answers (`make rehearse` runs thousands), and planted faults that it finds."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from contentgen_contract import characters
from contentgen_operator.providers import assemblyai, fal, refusals
from contentgen_simulation.mutated_answers.__main__ import campaign
from contentgen_simulation.mutated_answers.checks import check
from contentgen_simulation.mutated_answers.mutants import MutatedAnswer, mutants, singles
from contentgen_simulation.mutated_answers.recorded import RECORDED
from contentgen_simulation.mutated_answers.runs import run

# The SDK uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
SAMPLE = 400
EACH_RUN = 40


async def test_no_odd_answer_is_misread() -> None:
    found = await campaign(SAMPLE, 0, EACH_RUN)
    assert [(mutant.name, mutant.label, text) for mutant, text in found] == []


def test_campaign_has_thousands_of_distinct_mutants() -> None:
    every = singles()
    assert len({(each.name, each.label) for each in every}) > 5000
    assert {each.name for each in every} == set(RECORDED)
    more = mutants(len(every) + 50)
    assert len({(each.name, each.label) for each in more}) > len({(each.name, each.label) for each in every})
    assert mutants(20) == mutants(20)


def named(name: str, label: str) -> MutatedAnswer:
    """The mutant with this label."""
    return next(single for single in singles() if (single.name, single.label) == (name, label))


def _strict_position(status: dict[str, Any]) -> str:
    return f", position {status['queue_position']:d}"


def _any_error(status: dict[str, Any]) -> str:
    return "boom" if status.get("error") is not None else ""


def _old_text(value: Any, _: int = 0) -> str:
    details = value.get("detail", "") if isinstance(value, dict) else value
    return "; ".join(".".join(map(str, detail.get("loc", []))) for detail in details)


PLANTED: list[tuple[str, str, Any, str, Callable[..., Any]]] = [
    ("fal queued", "queue_position = dropped", fal, "_position", _strict_position),
    ("fal submit 422", "detail.0.loc = None", refusals, "said", _old_text),
    ("fal submit 422", "detail = 'odd'", refusals, "said", _old_text),
    ("fal submit 422", r"detail.0.msg = '\ud800'", refusals, "foreign_text", lambda text, most=600: text[:most]),
    ("assemblyai error", r"error = '\ud800'", assemblyai, "foreign_text", lambda text, most=600: text[:most]),
    ("fal images", "body: gzip", fal, "read_answer", lambda reply: json.loads(reply.content)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "label", "place", "part", "fault"), PLANTED, ids=[each[1] for each in PLANTED])
async def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, *, name: str, label: str, place: Any, part: str, fault: Any
) -> None:
    mutant = named(name, label)
    assert await check(mutant, {}) == []
    monkeypatch.setattr(place, part, fault)
    assert await check(mutant, {}) != []


async def test_an_odd_error_of_a_status_buys_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a run: it fails without a result, and a second attempt is paid."""
    mutant = named("fal completed", "error = ''")
    assert await run(mutant) == []
    succeeded = fal._succeeded

    async def reported(reply: Any, error: str) -> Any:
        view = await succeeded(reply, "")
        return fal._failed(reply, error) if error else view

    monkeypatch.setattr(fal, "_reported_error", _any_error)
    monkeypatch.setattr(fal, "_succeeded", reported)
    assert await run(mutant) != []


async def test_half_a_surrogate_pair_reaches_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = named("fal submit 422", r"detail.0.msg = '\ud800'")
    assert await run(mutant) == []
    monkeypatch.setattr(characters, "_UNFIT", re.compile(r"(?!)"))
    assert await run(mutant) != []
