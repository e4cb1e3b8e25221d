"""Journal and plan of `make test-real`: what counts as paid, and which steps run."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from contentgen_real.checklist import CHECKLIST
from contentgen_real.context import StepContext
from contentgen_real.journal import JournalBusy, RecordedRequest, StepState, opened
from contentgen_real.plan import Choice, bound, most_usd, planned
from contentgen_real.step import CheckStep

NOW = datetime(2026, 11, 27, tzinfo=UTC)
REQUEST = RecordedRequest("one", "fal", "fal-ai/flux/schnell", "r1", '{"seed": 1}', NOW, NOW)


async def nothing(_: StepContext) -> None:
    """A step that sends nothing."""


def step(name: str, usd: str, *needs: str, later: bool = False) -> CheckStep:
    return CheckStep(name, "", Decimal(usd), needs, nothing, later)


def test_journal_keeps_states_bounds_and_requests(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.begin("one", Decimal("0.009"))
        journal.add(REQUEST)
        journal.end("one", StepState.PASSED)
        journal.begin("two", Decimal("0.1"))
    with opened(tmp_path) as journal:
        states = [journal.state(name) for name in ("one", "two", "three")]
        assert states == [StepState.PASSED, StepState.INTERRUPTED, StepState.NEW]
        assert journal.spent == Decimal("0.109")
        assert journal.requests("fal") == journal.requests("fal", "one") == [REQUEST]
        assert journal.requests("assemblyai") == journal.requests("fal", "two") == []


def test_repeated_step_counts_each_time(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for _ in range(2):
            journal.begin("one", Decimal("0.2"))
        assert journal.spent == journal.bound("one") == Decimal("0.4")
        assert journal.bound("two") == 0


def test_line_that_was_cut_off_is_ignored(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.begin("one", Decimal("0.1"))
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text() + '{"event": "beg')
    with opened(tmp_path) as journal:
        assert journal.spent == Decimal("0.1")
        journal.begin("two", Decimal("0.2"))
    with opened(tmp_path) as journal:
        assert journal.spent == Decimal("0.3")


def test_damaged_journal_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("not JSON\n{}\n")
    with pytest.raises(ValueError, match="Expecting value"), opened(tmp_path):
        pass


def test_second_journal_of_a_folder_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(JournalBusy), opened(tmp_path):
        pass


def test_steps_that_fit_the_limit_run(tmp_path: Path) -> None:
    steps = [step("a", "0.5"), step("b", "0.6"), step("c", "0.4"), step("free", "0"), step("d", "0.2")]
    with opened(tmp_path) as journal:
        journal.begin("earlier", Decimal("0.1"))
        plan = planned(steps, {}, journal, Choice())
    assert [planned_step.step.name for planned_step in plan if not planned_step.skipped] == ["a", "c", "free"]
    assert bound(plan) == Decimal("0.9")
    assert plan[1].skipped == "0.6 USD of MAX_USD=1 are used; it needs MAX_USD=1.2"


def test_reasons_of_skipped_steps(tmp_path: Path) -> None:
    steps = [step("a", "0", "KEY", "OTHER"), step("b", "0", later=True), step("c", "0"), step("d", "0.1")]
    with opened(tmp_path) as journal:
        journal.begin("d", Decimal("0.1"))
        journal.end("d", StepState.FAILED)
        plan = planned(steps, {"KEY": "k"}, journal, Choice(only=frozenset("abd")))
    assert [planned_step.skipped for planned_step in plan] == [
        "set OTHER",
        "for --later, an hour after the others",
        "not chosen",
        "bought before, and failed; --again d buys it again",
    ]


@pytest.mark.parametrize(
    ("given", "limit"), [({}, 1), ({"MAX_USD": ""}, 1), ({"MAX_USD": "0"}, 0), ({"MAX_USD": "2.5"}, 2.5)]
)
def test_limit_is_one_dollar_unless_it_is_set(given: dict[str, str], limit: float) -> None:
    assert most_usd(given) == Decimal(str(limit))


@pytest.mark.parametrize("given", ["-1", "NaN", "Infinity", "1 USD"])
def test_limit_that_is_no_amount_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="MAX_USD"):
        most_usd({"MAX_USD": given})


def test_all_steps_but_the_training_cost_less_than_a_dollar() -> None:
    prices = {entry.name: entry.usd for entry in CHECKLIST}
    assert len(prices) == len(CHECKLIST)
    assert prices.pop("training") == Decimal("2.07")
    assert sum(prices.values()) < Decimal("0.03")
