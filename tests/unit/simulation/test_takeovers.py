"""Plan and failure criteria of `make takeovers`; the takeovers themselves need the cluster."""

import httpx
import pytest

from contentgen_e2e.takeovers import FAULTS, SHORT, STATES, Holders, LeaderTakeover, Poller, line, plan, table


@pytest.mark.parametrize("seed", range(5))
def test_fifty_takeovers_have_each_fault_in_each_state(seed: int) -> None:
    chosen = plan(50, seed)
    assert len(chosen) == 50
    away = [pair for pair in chosen if pair[0] == "API server down"]
    assert 2 <= len(away) <= 8
    assert {pair for pair in chosen if pair not in away} == {(f, s) for f in FAULTS[:4] for s in STATES}
    assert plan(50, seed) == chosen


def test_few_have_each_kind_of_fault_that_other_suites_can_bear() -> None:
    assert plan(3, 1) == list(SHORT)
    assert "API server down" not in {fault for fault, _ in SHORT}
    assert ("API server down", "submitted") in plan(10, 1)


def test_longest_time_without_a_leader_is_between_two_holders() -> None:
    holders = Holders(None)  # type: ignore[arg-type]  # nobody is asked
    holders.seen = [(0, "a"), (5, "b"), (10, "b"), (11, ""), (12, "c"), (13, "c"), (13.5, "d")]
    assert holders.longest_gap(8) == 2
    assert holders.longest_gap(12.5) == 0.5
    assert Holders(None).longest_gap(0) == 0  # type: ignore[arg-type]  # likewise


def test_503_is_an_answer_while_the_api_server_is_away_alone() -> None:
    with httpx.Client() as nobody:
        poller = Poller(nobody)
    poller.answers = [(0, 1, "503"), (8, 9, "200"), (9, 10.5, "503"), (15, 16, "503"), (19, 25, "503"), (26, 27, "200")]
    assert poller.refused(5, [(10, 20)]) == []
    assert poller.refused(0, [(10, 20)]) == ["gateway: 1 answers 503"]
    poller.answers = [(15, 16, "500"), (16, 17, "ReadTimeout"), (21, 22, "503"), (22, 23, "503")]
    assert poller.refused(5, [(10, 20)]) == [
        "gateway: 1 answers 500",
        "gateway: 1 answers ReadTimeout",
        "gateway: 2 answers 503",
    ]


def test_the_table_has_medians_and_the_worst_of_each_fault() -> None:
    rows = [
        LeaderTakeover(n, "frozen", "sending", "sending", seconds, seconds + 1)
        for n, seconds in enumerate((15, 17, 40))
    ]
    rows[2].missed.append("40.0 s without a leader")
    text = table(rows)
    assert "frozen: 3 times, median 17.0 s, worst 40.0 s" in text
    assert line(rows[0]).endswith("| ok |")
    assert "40.0 s without a leader |" in text
