"""Round-robin queue: turns of groups, order within a group, limit of one group, keys that are put again."""

import random

from contentgen_operator.fairness.fair_queue import FairQueue

Key = tuple[str, int]


def queue(places: int = 24) -> FairQueue[Key]:
    return FairQueue(places, group=lambda key: key[0])


def filled(places: int, **counts: int) -> FairQueue[Key]:
    made = queue(places)
    for group, count in counts.items():
        for number in range(count):
            made.put((group, number), 0)
    return made


def taken(made: FairQueue[Key], most: int = 10_000, now: float = 1) -> str:
    """Groups of the keys that can be taken at a time, without a `done`."""
    keys = []
    while len(keys) < most and (key := made.take(now)) is not None:
        keys.append(key)
    return "".join(group for group, _ in keys)


def test_groups_take_turns() -> None:
    made, order = filled(1, a=4, b=2, c=1), ""
    while (key := made.take(1)) is not None:
        order += key[0]
        made.done(key)
    assert order == "abcabaa"


def test_keys_of_a_group_come_in_the_order_of_their_times() -> None:
    made = queue()
    for number in (3, 1, 2):
        made.put(("a", number), number)
    assert (made.take(0.5), made.next_time) == (None, 1)
    assert [made.take(2.5) for _ in range(3)] == [("a", 1), ("a", 2), None]
    assert made.next_time == 3


def with_first(first: set[Key], *keys: Key) -> FairQueue[Key]:
    """Queue with one place, in which the keys of `first` go first."""
    made = FairQueue[Key](1, group=lambda key: key[0], goes_first=lambda key: key in first)
    for key in keys:
        made.put(key, 0)
    return made


def in_order(made: FairQueue[Key], most: int = 10_000) -> list[Key]:
    """Keys as they are taken one at a time."""
    order = []
    while len(order) < most and (key := made.take(1)) is not None:
        order.append(key)
        made.done(key)
    return order


def test_urgent_keys_precede_only_their_own_group() -> None:
    """Regression: in a burst of 305, the 10 runs with places stayed Submitting until the others were first seen."""
    first = {("a", 9), ("a", 8)}
    made = with_first(first, *(("a", number) for number in range(10)), ("b", 0), ("b", 1))
    assert in_order(made, 4) == [("a", 8), ("b", 0), ("a", 9), ("b", 1)]
    assert in_order(made) == [("a", number) for number in range(8)]


def test_keys_that_go_first_starve_no_other() -> None:
    first = {("a", number) for number in range(100, 200)}
    made = with_first(first, *(("a", number) for number in range(200)))
    numbers = [number for _, number in in_order(made)]
    assert numbers[:8] == [100, 101, 102, 0, 103, 104, 105, 1]
    assert sorted(numbers) == list(range(200))


def test_a_waiting_key_that_is_put_again_may_go_first_by_then() -> None:
    first = set[Key]()
    made = with_first(first, *(("a", number) for number in range(5)))
    assert made.take(1) == ("a", 0)
    first |= {("a", 0), ("a", 4)}
    assert not made.put(("a", 4), 1)
    assert made.put(("a", 0), 1), "it is in progress, and comes due once more"
    assert made.take(1) is None
    assert not made.put(("a", 0), 1)
    made.done(("a", 0))
    assert in_order(made) == [("a", 4), ("a", 0), ("a", 1), ("a", 2), ("a", 3)]


def test_group_holds_half_of_the_slots_while_another_waits() -> None:
    made = filled(24, a=100)
    assert taken(made, 12) == "a" * 12
    for number in range(100):
        made.put(("b", number), 0)
    assert taken(made) == "b" * 12


def test_a_group_alone_leaves_places_for_the_next() -> None:
    made = filled(24, a=100)
    assert taken(made) == "a" * 20
    made.put(("b", 0), 0)
    assert taken(made) == "b", "and it need not wait for one of the first group to be done"


def test_a_group_above_its_half_gets_no_more_while_another_waits() -> None:
    made = filled(12, a=100)
    assert taken(made) == "a" * 10
    for number in range(100):
        made.put(("b", number), 0)
    assert taken(made) == "bb"
    for number in range(4):
        made.done(("a", number))
    assert taken(made) == "bbbb", "two groups share all twelve places"


def test_all_places_are_used_whatever_their_number() -> None:
    for places in range(1, 30):
        assert len(taken(filled(places, a=50, b=50))) == places
        left = places - len(taken(filled(places, a=50)))
        assert left == (max(places // 6, 1) if places > 1 else 0)


def test_a_key_is_taken_once_at_a_time() -> None:
    made = filled(24, a=1)
    assert made.take(1) == ("a", 0)
    assert ("a", 0) in made
    assert made.put(("a", 0), 2)
    assert not made.put(("a", 0), 3), "it comes earlier already"
    assert made.take(5) is None
    assert not made.put(("a", 0), 1), "it waits already"
    made.done(("a", 0))
    assert [made.take(5), made.take(5)] == [("a", 0), None]
    made.done(("a", 0))
    assert ("a", 0) not in made
    assert (len(made), made.taken, made.next_time) == (0, frozenset(), None)


def test_wake_ups_to_earlier_times_do_not_pile_up() -> None:
    made = queue()
    for number in range(10_000):
        made.put(("a", 0), 100_000 - number)
    assert len(made._later) < 100
    assert made.take(90_001) == ("a", 0)


def test_queue_neither_loses_nor_repeats_a_key() -> None:
    chosen = random.Random(14)  # noqa: S311 - a sequence that is the same each time
    for places in (1, 2, 7, 24):
        made, busy, wanted = queue(places), set[Key](), set[Key]()
        for turn in range(3000):
            key = (chosen.choice("aaaab"), chosen.randrange(20))
            if chosen.random() < 0.5:
                made.put(key, turn + chosen.randrange(5))
                wanted.add(key)
            elif busy and chosen.random() < 0.6:
                over = chosen.choice(sorted(busy))
                busy.remove(over)
                made.done(over)
            elif (next_key := made.take(turn)) is not None:
                assert next_key not in busy
                busy.add(next_key)
                wanted.discard(next_key)
            assert len(busy) <= places
        while busy or wanted:
            while (next_key := made.take(10_000)) is not None:
                busy.add(next_key)
                wanted.discard(next_key)
            while busy:
                made.done(busy.pop())
        assert (len(made), dict(made._taken_of), dict(made._by_group), made._waiting) == (0, {}, {}, set())
