"""Marks by which a purchase is found by the content of its request (decision 0042)."""

from datetime import UTC, datetime

import pytest

from contentgen_contract.names import Kind
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState
from contentgen_operator.state.request_marks import UNREADABLE, equal_purchases, mark_of, marks_prefix

NOW = datetime(2026, 11, 27, tzinfo=UTC)
KEY = PurchaseKey(
    namespace="team", kind=Kind.TRANSCRIPTION, name="talk", run_hash="h", rerun=None, attempt=1, scope="one"
)


def purchase(**changed: object) -> Purchase:
    made = Purchase(
        purchase_id="bought",
        state=PurchaseState.INTENT,
        job_id="job",
        user_id="user",
        provider="assemblyai",
        model="assemblyai",
        correlation_key="sound.flac",
        created_at=NOW,
        changed_at=NOW,
        namespace="team",
        namespace_uid="uid",
        operator_class="default",
        content=("bytes", "source"),
    )
    return made.model_copy(update=changed)


@pytest.mark.parametrize(
    ("key", "of", "asked", "equal"),
    [
        ({}, {}, ["bytes"], True),
        ({"run_hash": "another", "attempt": 2}, {}, ["source", "other"], True),
        ({}, {}, ["other"], False),
        ({}, {}, [], False),
        ({"scope": "two"}, {}, ["bytes"], True),  # by the namespace's uid
        ({}, {"namespace_uid": "another"}, ["bytes"], True),  # by the scope
        ({"scope": "two"}, {"namespace_uid": "another"}, ["bytes"], False),
        ({"scope": "uid"}, {"namespace_uid": None}, ["bytes"], True),
        ({"rerun": "again"}, {}, ["bytes"], False),
        ({"name": "another"}, {}, ["bytes"], False),
        ({"namespace": "another"}, {}, ["bytes"], False),
        ({"kind": Kind.IMAGE_GENERATION}, {}, ["bytes"], False),
        ({}, {"operator_class": "another"}, ["bytes"], False),
    ],
)
def test_a_mark_is_found_by_place_and_content(
    key: dict[str, object], of: dict[str, object], asked: list[str], equal: bool
) -> None:
    searched, planned = KEY.model_copy(update=key), purchase(purchase_id="planned", **of)
    mark, prefix = mark_of(KEY, purchase()), marks_prefix(searched, planned.operator_class)
    listed = [mark] if mark.startswith(prefix) else []
    assert equal_purchases(listed, searched, asked, planned) == ({"bought"} if equal else frozenset())


@pytest.mark.parametrize("odd", ["", "{odd}.json", "bought.json", "ab.cd.bought.json"])
def test_a_malformed_mark_is_of_an_unknown_purchase(odd: str) -> None:
    found = equal_purchases([marks_prefix(KEY, "default") + odd], KEY, ["bytes"], purchase())
    assert found == {UNREADABLE}


def test_marks_of_one_purchase_have_one_key() -> None:
    assert mark_of(KEY, purchase()) == mark_of(KEY, purchase(content=("source", "bytes")))
    assert mark_of(KEY, purchase()) != mark_of(KEY, purchase(purchase_id="another"))
