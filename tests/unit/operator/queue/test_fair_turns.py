"""Fair turns: limits, rotation of namespaces, priority and age; a property over random arrivals."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentgen_operator.queue.fair_turns import Account, Claimant, FairTurns, Place, PlaceLimits
from contentgen_operator.queue.values import Limit
from contentgen_simulation.queue_driver import fairness_holds

START = datetime(2026, 11, 21, tzinfo=UTC)


def claimant(uid: str, namespace: str = "a", provider: str = "fal", **fields: object) -> Claimant:
    given = {"model": "m", "priority": 0, "since": START} | fields
    return Claimant(uid=uid, namespace=namespace, provider=provider, **given)  # type: ignore[arg-type]


def start(turns: FairTurns, closed: tuple[str, ...] = ()) -> Claimant | None:
    return turns.start(lambda uid: uid, lambda endpoint: endpoint[1] not in closed)


def starts(turns: FairTurns, *, finish: bool = False) -> list[Claimant]:
    """All runs that may start; with `finish` each one ends at once."""
    found = list[Claimant]()
    while (each := start(turns)) is not None:
        found.append(each)
        if finish:
            turns.free(each.uid)
    return found


def test_default_has_no_limit() -> None:
    turns = FairTurns(PlaceLimits())
    for number in range(50):
        turns.put(claimant(f"{number:02}"))
    assert len(starts(turns)) == 50
    assert len(turns) == 0


def test_each_account_at_a_provider_has_the_providers_places() -> None:
    turns = FairTurns(PlaceLimits(overall=5, providers={"fal": 2}))
    for number in range(4):
        turns.put(claimant(f"default-{number}", "a"))
        turns.put(claimant(f"team-{number}", "b", account="team"))
    started = Counter(start.account for start in starts(turns))
    assert started == {"": 2, "team": 2}
    assert turns.taken == {"fal": 4}
    assert turns.limit_of(claimant("default-3")) is Limit.PROVIDER
    turns.free("team-0")
    assert turns.limit_of(claimant("default-3")) is Limit.PROVIDER, "a free place with another account is none"
    assert [start.account for start in starts(turns)] == ["team"]


@pytest.mark.parametrize(
    ("limits", "expected", "limit"),
    [
        (PlaceLimits(overall=3), 3, Limit.OVERALL),
        (PlaceLimits(per_namespace=2), 4, Limit.PER_NAMESPACE),
        (PlaceLimits(providers={"fal": 1}), 1, Limit.PROVIDER),
        (PlaceLimits(overall=9, per_namespace=2, providers={"fal": 3}), 3, Limit.PROVIDER),
    ],
)
def test_places_are_limited(limits: PlaceLimits, expected: int, limit: Limit) -> None:
    turns = FairTurns(limits)
    for number in range(5):
        turns.put(claimant(f"a{number}", "a"))
        turns.put(claimant(f"b{number}", "b"))
    assert len(starts(turns)) == expected
    assert turns.limit_of(claimant("a4")) is limit
    turns.free("a0")
    assert len(starts(turns)) == 1


def test_full_provider_does_not_delay_the_other() -> None:
    turns = FairTurns(PlaceLimits(providers={"fal": 1, "assemblyai": 1}))
    for number in range(3):
        turns.put(claimant(f"f{number}", provider="fal"))
        turns.put(claimant(f"t{number}", provider="assemblyai"))
    assert {start.uid for start in starts(turns)} == {"f0", "t0"}


def test_requests_under_way_count_even_above_the_limit() -> None:
    turns = FairTurns(PlaceLimits(overall=2))
    for number in range(3):
        turns.occupy(f"p{number}", Place("b", Account("fal")))
    turns.put(claimant("a"))
    assert start(turns) is None
    turns.free("p0")
    assert start(turns) is None
    turns.free("p1")
    assert start(turns) is not None


def test_a_place_is_counted_and_given_back_once() -> None:
    turns = FairTurns(PlaceLimits(overall=1))
    turns.occupy("p", Place("a", Account("fal")))
    turns.occupy("p", Place("a", Account("fal")))
    assert turns.taken == {"fal": 1}
    assert turns.free("p")
    assert not turns.free("p")
    assert turns.taken == {}


def test_priority_then_age_within_a_namespace() -> None:
    turns = FairTurns(PlaceLimits(overall=1))
    turns.put(claimant("new", since=START + timedelta(hours=1)))
    turns.put(claimant("old"))
    turns.put(claimant("urgent", since=START + timedelta(hours=2), priority=5))
    turns.put(claimant("low", priority=-5))
    assert [start.uid for start in starts(turns, finish=True)] == ["urgent", "old", "new", "low"]


def test_priority_has_no_effect_on_another_namespace() -> None:
    turns = FairTurns(PlaceLimits(overall=1))
    for number in range(4):
        turns.put(claimant(f"a{number}", "a", priority=1000))
        turns.put(claimant(f"b{number}", "b", priority=-1000))
    order = [start.namespace for start in starts(turns, finish=True)]
    assert order == ["a", "b"] * 4


def test_a_changed_priority_keeps_the_namespaces_turn() -> None:
    turns = FairTurns(PlaceLimits(overall=1))
    turns.put(claimant("a1", "a"))
    turns.put(claimant("b1", "b"))
    turns.put(claimant("a1", "a", priority=7))
    assert [start.uid for start in starts(turns, finish=True)] == ["a1", "b1"]


def test_a_namespace_that_comes_and_goes_gets_no_extra_turns() -> None:
    turns = FairTurns(PlaceLimits(overall=1))
    for number in range(6):
        turns.put(claimant(f"b{number}", "b"))
        turns.put(claimant(f"c{number}", "c"))
    order = list[str]()
    for number in range(12):
        turns.put(claimant(f"a{number}", "a"))  # one run at a time, put again after each start
        found = start(turns)
        assert found is not None
        order.append(found.namespace)
        turns.free(found.uid)
        turns.drop(f"a{number}")
    assert order.count("b") == order.count("c") == 6 - order.count("a") // 2


def test_a_namespace_at_its_limit_keeps_its_turn() -> None:
    turns = FairTurns(PlaceLimits(per_namespace=1))
    turns.occupy("p", Place("a", Account("fal")))
    turns.put(claimant("a1", "a"))
    turns.put(claimant("b1", "b"))
    turns.put(claimant("b2", "b"))
    assert [start.uid for start in starts(turns)] == ["b1"]
    turns.free("p")
    turns.free("b1")
    assert [start.uid for start in starts(turns)] == ["a1", "b2"]


def test_a_closed_endpoint_delays_only_its_own_runs() -> None:
    turns = FairTurns(PlaceLimits(overall=1))
    turns.put(claimant("broken", model="x", priority=9))
    turns.put(claimant("fine", model="y"))
    found = start(turns, closed=("x",))
    assert found is not None
    assert found.uid == "fine"
    turns.free("fine")
    assert start(turns, closed=("x",)) is None
    assert len(turns) == 1


def test_removed_runs_leave_nothing_behind() -> None:
    turns = FairTurns(PlaceLimits(overall=1))
    for number in range(20):
        turns.put(claimant(f"{number:02}", f"ns-{number % 5}", model=f"m{number % 3}"))
    for number in range(20):
        assert turns.drop(f"{number:02}")
        assert not turns.drop(f"{number:02}")
    assert (turns._lines, turns._endpoints, turns._common, turns._waiting) == ({}, {}, {}, {})
    assert not any(turns._rotations.values())


def test_the_rule_is_not_always_true() -> None:
    both = frozenset({"a", "b"})
    assert not fairness_holds([("a", both)] * 30, 30)
    assert fairness_holds([("a", both), ("b", both)] * 15, 30)


@pytest.mark.parametrize("limits", [PlaceLimits(overall=4), PlaceLimits(providers={"fal": 3}), PlaceLimits(overall=1)])
def test_three_namespaces_with_900_90_and_10_runs(limits: PlaceLimits) -> None:
    turns = FairTurns(limits)
    left = {"large": 900, "medium": 90, "small": 10}
    for namespace, count in left.items():
        for number in range(count):
            turns.put(claimant(f"{namespace}-{number:03}", namespace))
    order = list[tuple[str, frozenset[str]]]()
    running = list[str]()
    while True:
        waiting = frozenset(each for each, count in left.items() if count)
        found = start(turns)
        if found is None:
            if not running:
                break
            turns.free(running.pop(0))
            continue
        order.append((found.namespace, waiting))
        left[found.namespace] -= 1
        running.append(found.uid)
    assert len(order) == 1000
    assert fairness_holds(order, 30)


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["fal", "assemblyai"]), st.integers(-2, 2)),
        min_size=20,
        max_size=150,
    ),
    overall=st.integers(1, 6),
    ends=st.randoms(use_true_random=False),
)
def test_the_rule_holds_for_random_work(arrivals: list[tuple[str, str, int]], overall: int, ends: object) -> None:
    """With a limit over all, each namespace gets its share of any window in which it had work throughout."""
    turns, running = FairTurns(PlaceLimits(overall=overall)), list[str]()
    left, order = Counter[str](), list[tuple[str, frozenset[str]]]()
    for number, (namespace, provider, priority) in enumerate(arrivals):
        turns.put(claimant(f"{number:03}", namespace, provider, priority=priority))
        left[namespace] += 1
    while True:
        waiting = frozenset(each for each, count in left.items() if count)
        found = start(turns)
        if found is not None:
            order.append((found.namespace, waiting))
            left[found.namespace] -= 1
            running.append(found.uid)
        elif running:
            turns.free(running.pop(ends.randrange(len(running))))  # type: ignore[attr-defined]
        else:
            break
    assert len(order) == len(arrivals)
    assert all(fairness_holds(order, window) for window in (4, 8, 12, 20))
