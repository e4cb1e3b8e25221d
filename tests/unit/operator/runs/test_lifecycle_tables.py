"""Tables of lifecycle.py: complete, without repetitions, and in agreement with the order of the phases."""

import pytest

from contentgen_contract.names import Phase
from contentgen_contract.records.ledger import PurchaseState, SendState
from contentgen_simulation.rehearsal.lifecycle import (
    NONE,
    PHASE_ORDER,
    PHASE_PAUSES,
    PHASE_RETURNS,
    PHASE_TRANSITIONS,
    PURCHASE_TRANSITIONS,
    RESTORED_TRANSITIONS,
    LifecycleTransition,
    can_follow,
    purchase_node,
)


def edges(*tables: tuple[LifecycleTransition, ...]) -> list[tuple[str, str]]:
    return [(each.source, each.target) for table in tables for each in table]


def test_every_state_is_reached() -> None:
    known = {str(each) for each in (*PurchaseState, *SendState)} - {str(PurchaseState.INTENT)}
    assert {target for _, target in edges(PURCHASE_TRANSITIONS)} == known | {NONE}
    assert {target for _, target in edges(PHASE_TRANSITIONS, PHASE_PAUSES, PHASE_RETURNS)} == {
        str(phase) for phase in Phase
    }


@pytest.mark.parametrize(
    "tables", [(PURCHASE_TRANSITIONS, RESTORED_TRANSITIONS), (PHASE_TRANSITIONS, PHASE_PAUSES, PHASE_RETURNS)]
)
def test_no_transition_is_listed_twice(tables: tuple[tuple[LifecycleTransition, ...], ...]) -> None:
    assert len(set(edges(*tables))) == len(edges(*tables))


def test_usual_phases_go_forward_and_the_others_do_not() -> None:
    order = [NONE, *map(str, PHASE_ORDER)]
    assert all(order.index(source) < order.index(target) for source, target in edges(PHASE_TRANSITIONS))
    back = [edge for edge in edges(PHASE_PAUSES, PHASE_RETURNS) if str(Phase.SUSPENDED) not in edge]
    assert all(order.index(source) > order.index(target) for source, target in back)
    assert set(PHASE_ORDER) == set(Phase) - {Phase.SUSPENDED}


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (Phase.PREPARING, Phase.COLLECTING, True),  # the run adopts a purchase
        (Phase.SUBMITTING, Phase.AWAITING_APPROVAL, True),
        (Phase.SUSPENDED, Phase.SUBMITTING, True),
        (Phase.SUSPENDED, Phase.FAILED, True),  # resumed and cancelled
        (Phase.PROCESSING, Phase.SUSPENDED, False),  # paid
        (Phase.PROCESSING, Phase.SUBMITTING, False),  # another paid attempt
        (Phase.SUBMISSION_UNKNOWN, Phase.SUBMITTING, False),  # a person's answer
        (Phase.FAILED, Phase.COLLECTING, False),
        (Phase.COLLECTING, Phase.PROCESSING, False),
    ],
)
def test_phases_that_can_follow_within_a_paid_attempt(before: Phase, after: Phase, allowed: bool) -> None:
    assert can_follow(before, after) is allowed


def test_only_planned_purchases_are_sent_and_sent_ones_stay() -> None:
    every = edges(PURCHASE_TRANSITIONS, RESTORED_TRANSITIONS)
    # (none, sending): the ledger has lost a purchase that was sent.
    assert [source for source, target in every if target == str(SendState.SENDING)] == ["planned", NONE]
    assert [source for source, target in every if target == NONE] == ["planned"]
    paid = {"submitted", "succeeded", "collected", "failed", "cancelled", "discarded"}
    assert not [edge for edge in every if edge[0] in paid and edge[1] not in paid]


@pytest.mark.parametrize(
    ("state", "send_state", "expected"),
    [
        ("intent", "planned", "planned"),
        ("intent", "abandoned", "abandoned"),
        ("collected", None, "collected"),
        ("refused", "planned", "refused"),
    ],
)
def test_the_node_of_a_purchase(state: str, send_state: str | None, expected: str) -> None:
    assert purchase_node(state, send_state) == expected


@pytest.mark.parametrize(("state", "send_state"), [("paid", None), ("intent", "sent"), ("intent", None)])
def test_unknown_states_are_refused(state: str, send_state: str | None) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        purchase_node(state, send_state)
