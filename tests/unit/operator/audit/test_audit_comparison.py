"""Comparison of provider requests and bills with the ledger: a table of cases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.records.audits import AuditSubject, Coverage, FindingKind
from contentgen_contract.resources.prices import PRICES, Price, Unit
from contentgen_operator.audit.comparison import compare, possible_correlation_keys, wanted_checks, wanted_inputs
from contentgen_operator.audit.facts import AuditedPurchase, AuditFacts, AuditLimits
from contentgen_operator.state.provider_requests import ProviderBill, ProviderRequest
from contentgen_operator.state.purchases import Purchase, PurchaseState, SendState

K, S = FindingKind, PurchaseState
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
LIMITS = AuditLimits()
SINCE = NOW - LIMITS.window
MODEL = "fal-ai/flux/dev"  # 0.025 USD a megapixel, billed by megapixel
TRAINER = "fal-ai/flux-lora-fast-training"  # its billable units are not those of the table
R1, R2, R3 = (f"019f7096-0000-7000-8000-00000000000{number}" for number in (1, 2, 3))
INPUT = {"prompt": "a cat", "seed": 7}
CORRELATION_KEY = "seed:7 prompt:a cat"
SOUND = "users/u/transcripts/j/v1/prepare/audio.flac"
READ = tuple(
    Coverage(provider=provider, subject=subject, complete=True)
    for provider, subject in (
        ("fal", AuditSubject.REQUESTS),
        ("fal", AuditSubject.BILLS),
        ("fal", AuditSubject.PRICES),
        ("assemblyai", AuditSubject.REQUESTS),
    )
)


def bought(name: str = "cat", **changes: Any) -> AuditedPurchase:
    """A collected image of 5 days ago, billed as expected."""
    given: dict[str, Any] = {
        "purchase_id": f"p-{name}",
        "state": S.COLLECTED,
        "job_id": "j",
        "provider": "fal",
        "model": MODEL,
        "correlation_key": CORRELATION_KEY,
        "created_at": NOW - 5 * DAY,
        "changed_at": NOW - 5 * DAY + HOUR,
        "submitted_at": NOW - 5 * DAY + MINUTE,
        "finished_at": NOW - 5 * DAY + HOUR,
        "request_id": R1,
        "operator_class": "default",
        "estimated_micros": 50_000,
        "unit_micros": 25_000,
        "unit": Unit.MEGAPIXEL,
        "billing": True,
        "billable_units": 2,
    }
    return AuditedPurchase(key=f"red/{Kind.IMAGE_GENERATION}/{name}/hash/-/1", purchase=Purchase(**(given | changes)))


def lost(name: str = "lost", send_state: SendState | None = SendState.SENDING, **more: Any) -> AuditedPurchase:
    """A purchase whose reply was lost."""
    unknown = {"submitted_at": None, "finished_at": None, "request_id": None, "billable_units": None}
    return bought(name, state=S.INTENT, send_state=send_state, sent_at=NOW - 5 * DAY, **unknown, **more)


def lost_of(account: str) -> AuditedPurchase:
    """A purchase of a named account whose reply was lost."""
    entry = lost()
    return AuditedPurchase(key=entry.key, purchase=entry.purchase.model_copy(update={"account": account}))


def listed(request_id: str = R1, **changes: Any) -> ProviderRequest:
    given = {"provider": "fal", "model": MODEL, "request_id": request_id, "sent_at": NOW - 5 * DAY + MINUTE}
    return ProviderRequest(**(given | changes))


def bill(request_id: str = R1, **changes: Any) -> ProviderBill:
    given = {
        "provider": "fal", "model": MODEL, "request_id": request_id, "at": NOW - 5 * DAY + HOUR, "micros": 50_000,
        "list_micros": 50_000, "units": 2, "unit_micros": 25_000,
    }  # fmt: skip
    return ProviderBill(**(given | changes))


def facts(**changes: Any) -> AuditFacts:
    given: dict[str, Any] = {
        "now": NOW, "since": SINCE, "requests": (listed(),), "bills": (bill(),), "purchases": (bought(),),
        "table": PRICES, "coverage": READ,
    }  # fmt: skip
    return AuditFacts(**(given | changes), lists_open=frozenset({"assemblyai"}))


def without(provider: str, subject: AuditSubject) -> tuple[Coverage, ...]:
    """Coverage in which one part was not read."""
    incomplete = Coverage(provider=provider, subject=subject, complete=False, problem="403")
    return (*(each for each in READ if (each.provider, each.subject) != (provider, subject)), incomplete)


def sound(**changes: Any) -> AuditedPurchase:
    given = {"provider": "assemblyai", "model": "assemblyai/universal", "correlation_key": SOUND, "request_id": R2}
    return bought("talk", **(given | changes))


def transcript(request_id: str = R2, url: str = f"https://s3.test/bucket/{SOUND}?X-Amz-Signature=x") -> ProviderRequest:
    return ProviderRequest(
        provider="assemblyai", model="assemblyai/universal", request_id=request_id, sent_at=NOW - 5 * DAY + MINUTE,
        input={"audio_url": url},
    )  # fmt: skip


CASES: dict[str, tuple[dict[str, Any], list[tuple[FindingKind, str]]]] = {
    "all is as bought": ({}, []),
    # --- requests that nobody asked for
    "an unknown request": (
        {"requests": (listed(), listed(R2)), "bills": (bill(), bill(R2))},
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "an unknown bill alone: the history of its model is not read": (
        {"bills": (bill(), bill(R2, model="fal-ai/veo3.1"))},
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "an unknown bill, where the history could not be read": (
        {"bills": (bill(), bill(R2)), "coverage": without("fal", AuditSubject.REQUESTS)},
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "a request within the grace period": ({"requests": (listed(), listed(R2, sent_at=NOW - 59 * MINUTE))}, []),
    "a request at the end of the grace period": (
        {"requests": (listed(), listed(R2, sent_at=NOW - 60 * MINUTE))},
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "a request of the future": ({"requests": (listed(), listed(R2, sent_at=NOW + DAY))}, []),
    "a request before the audited time": (
        {"requests": (listed(), listed(R2, sent_at=SINCE - MINUTE)), "bills": (bill(), bill(R2, at=SINCE - MINUTE))},
        [],
    ),
    "a request without a readable time": (
        {"requests": (listed(), listed(R2, sent_at=None))},
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "a request of a purchase in another state": (
        {
            "requests": (listed(), listed(R2)),
            "purchases": (bought(), bought("b", state=S.SUBMITTED, request_id=R2, correlation_key="m2")),
        },
        [],
    ),
    "a request of another installation with the same ledger": (
        {
            "requests": (listed(), listed(R2)),
            "bills": (bill(), bill(R2)),
            "purchases": (bought(), bought("b", operator_class="other", request_id=R2, correlation_key="m2")),
        },
        [],
    ),
    "a bound request": ({"requests": (listed(), listed(R2)), "bound_requests": frozenset({f"fal/{R2}"})}, []),
    "a request of the same id at another provider": (
        {"requests": (listed(), transcript(R1, "https://x.test/a.flac"))},
        [(K.UNKNOWN_REQUEST, R1)],
    ),
    # --- lost replies
    "the request of a lost reply": (
        {
            "requests": (listed(), listed(R2)), "purchases": (bought(correlation_key="m"), lost()),
            "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)},
        },
        [],
    ),
    "a person has resubmitted the lost one": (
        {
            "requests": (listed(), listed(R2)),
            "purchases": (bought(correlation_key="m"), lost(send_state=SendState.ABANDONED)),
            "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)},
        },
        [],
    ),
    "one lost reply accounts for one request only": (
        {
            "requests": (listed(R2), listed(R3, sent_at=NOW - 4 * DAY)), "purchases": (lost(),), "bills": (),
            "looked_up": {f"fal/{each}": listed(each, input=INPUT) for each in (R2, R3)},
        },
        [(K.UNKNOWN_REQUEST, R3)],
    ),
    "two lost replies account for two": (
        {
            "requests": (listed(R2), listed(R3)), "purchases": (lost("a"), lost("b")), "bills": (),
            "looked_up": {f"fal/{each}": listed(each, input=INPUT) for each in (R2, R3)},
        },
        [],
    ),
    "an input of another prompt": (
        {
            "requests": (listed(), listed(R2)), "purchases": (bought(correlation_key="m"), lost()),
            "looked_up": {f"fal/{R2}": listed(R2, input=INPUT | {"prompt": "a dog"})},
        },
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "the same input for another model": (
        {
            "requests": (listed(), listed(R2, model="fal-ai/flux/schnell")),
            "purchases": (bought(correlation_key="m"), lost()),
            "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)},
        },
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "the same input before the purchase was planned": (
        {
            "requests": (listed(), listed(R2, sent_at=NOW - 6 * DAY)),
            "purchases": (bought(correlation_key="m"), lost()),
            "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)},
        },
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "a planned purchase was sent nevertheless": (
        {
            "requests": (listed(), listed(R2)),
            "purchases": (bought(correlation_key="m"), lost(send_state=SendState.PLANNED)),
            "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)},
        },
        [(K.UNKNOWN_REQUEST, R2)],
    ),
    "the lost transcript, by its sound": (
        {"requests": (listed(), transcript()), "purchases": (bought(), lost_sound := lost())}
        | {"purchases": (bought(), AuditedPurchase(key=lost_sound.key, purchase=lost_sound.purchase.model_copy(
            update={"provider": "assemblyai", "model": "assemblyai/universal", "correlation_key": SOUND})))},
        [],
    ),
    # --- billed twice
    "a second request with the input of a purchase": (
        {
            "requests": (listed(), listed(R2)), "bills": (bill(), bill(R2)),
            "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)},
        },
        [(K.BILLED_TWICE, R2)],
    ),
    "a second transcript of the same sound": (
        {"requests": (listed(), transcript(), transcript(R3)), "purchases": (bought(), sound())},
        [(K.BILLED_TWICE, R3)],
    ),
    "two equal rows of one request": (
        {"bills": (bill(), bill(at=NOW - 4 * DAY))},
        [(K.BILLED_TWICE, R1)],
    ),
    "a row that two pages show": ({"bills": (bill(), bill())}, []),
    "two rows that are the amount together": (
        {"bills": (bill(micros=20_000, list_micros=20_000), bill(micros=30_000, list_micros=30_000))},
        [],
    ),
    # --- requests that the provider does not know
    "the provider does not know a request": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None}},
        [(K.MISSING_REQUEST, R1), (K.NOT_BILLED, R1)],
    ),
    "a request that the list omits and its id finds": (
        {"requests": (), "looked_up": {f"fal/{R1}": listed()}},
        [],
    ),
    "a request whose id was not looked up": ({"requests": ()}, []),
    "a request that is billed exists": ({"requests": (), "looked_up": {f"fal/{R1}": None}}, []),
    "the history could not be read": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None},
         "coverage": without("fal", AuditSubject.REQUESTS)},
        [(K.NOT_BILLED, R1)],
    ),
    "it ended less than a day ago: the history lags": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None},
         "purchases": (bought(finished_at=NOW - 23 * HOUR, submitted_at=NOW - DAY),)},
        [],
    ),
    "it has not ended, and fal lists what has": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None},
         "purchases": (bought(state=S.SUBMITTED, finished_at=None),)},
        [],
    ),
    "it was cancelled": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None}, "purchases": (bought(state=S.CANCELLED),)},
        [],
    ),
    "a purchase of another installation, perhaps of another account": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None}, "purchases": (bought(operator_class="x"),)},
        [],
    ),
    "a purchase of another account, whose lists were not read": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None}, "purchases": (bought(account="research"),)},
        [],
    ),
    "a lost reply of another account accounts for no request of this one": (
        {"requests": (listed(), listed(R2, input=INPUT)), "bills": (bill(),),
         "purchases": (bought(), lost(account="research"))},
        [(K.BILLED_TWICE, R2)],
    ),
    "a purchase before the audited time": (
        {"requests": (), "bills": (), "looked_up": {f"fal/{R1}": None},
         "purchases": (bought(submitted_at=SINCE, finished_at=SINCE + MINUTE),)},
        [],
    ),
    "AssemblyAI does not know a transcript": (
        {"purchases": (bought(), sound()), "looked_up": {f"assemblyai/{R2}": None}},
        [(K.MISSING_REQUEST, R2)],
    ),
    # --- not billed
    "not billed after 3 days": ({"bills": ()}, [(K.NOT_BILLED, R1)]),
    "not billed yet": ({"bills": (), "purchases": (bought(finished_at=NOW - 3 * DAY + MINUTE),)}, []),
    "the bills could not be read": ({"bills": (), "coverage": without("fal", AuditSubject.BILLS)}, []),
    "no units were billed": ({"bills": (), "purchases": (bought(billable_units=0),)}, []),
    "it was billed before": ({"bills": (), "purchases": (bought(billed_micros=50_000),)}, []),
    "a failure need not be billed": ({"bills": (), "purchases": (bought(state=S.FAILED),)}, []),
    "a discarded result was paid": (
        {"bills": (), "purchases": (bought(state=S.DISCARDED),)},
        [(K.NOT_BILLED, R1)],
    ),
    "AssemblyAI has no bills": ({"requests": (listed(), transcript()), "purchases": (bought(), sound())}, []),
    # --- amounts
    "another amount": ({"bills": (bill(micros=90_000, list_micros=90_000),)}, [(K.AMOUNT_DIFFERS, R1)]),
    "a discount": ({"bills": (bill(micros=40_000, list_micros=50_000),)}, []),
    "a rounded amount": ({"bills": (bill(micros=50_900, list_micros=50_900),)}, []),
    "billed without a charge": ({"bills": (bill(micros=0, list_micros=0),)}, [(K.AMOUNT_DIFFERS, R1)]),
    "the estimate counts without units": (
        {"purchases": (bought(billable_units=None),), "bills": (bill(micros=99_000, list_micros=99_000),)},
        [(K.AMOUNT_DIFFERS, R1)],
    ),
    "nothing to compare with": (
        {"purchases": (bought(billable_units=None, estimated_micros=None),),
         "bills": (bill(micros=99_000, list_micros=99_000),)},
        [],
    ),
    "the bill has changed since it was read": (
        {"purchases": (bought(billed_micros=45_000),)},
        [(K.AMOUNT_DIFFERS, R1)],
    ),
    # --- prices
    "a new price explains its amounts": (
        {"bills": (bill(micros=60_000, list_micros=60_000, unit_micros=30_000),)},
        [(K.PRICE_CHANGED, "")],
    ),
    "one finding for all requests of the model": (
        {
            "requests": (listed(), listed(R2)),
            "purchases": (bought(), bought("b", request_id=R2, correlation_key="b")),
            "bills": tuple(bill(each, micros=60_000, list_micros=60_000, unit_micros=30_000) for each in (R1, R2)),
        },
        [(K.PRICE_CHANGED, "")],
    ),
    "the price list of fal, without a bill": (
        {"bills": (), "purchases": (), "requests": (),
         "listed": {TRAINER: Price(micros=3000, unit=Unit.STEP, source="fal")}},
        [(K.PRICE_CHANGED, "")],
    ),
    "the price list has one of the published prices": (
        {"bills": (), "purchases": (), "requests": (),
         "listed": {"fal-ai/flux-2-trainer": Price(micros=8000, unit=Unit.STEP, source="fal")}},
        [],
    ),
    "the price list is above the published prices": (
        {"bills": (), "purchases": (), "requests": (),
         "listed": {"fal-ai/flux-2-trainer": Price(micros=8100, unit=Unit.STEP, source="fal")}},
        [(K.PRICE_CHANGED, "")],
    ),
    "a price per another unit cannot be compared": (
        {"listed": {TRAINER: Price(micros=3000, unit=Unit.OTHER, source="fal")}},
        [],
    ),
    "the newest bill counts": (
        {"bills": (bill(), bill(R2, at=NOW - 6 * DAY, unit_micros=20_000)), "bound_requests": frozenset({f"fal/{R2}"})},
        [],
    ),
    "bills of a trainer change": (
        {
            "requests": (listed(model=TRAINER),), "purchases": (bought(model=TRAINER, estimated_micros=None),),
            "bills": (
                bill(model=TRAINER, unit_micros=2.0),
                bill(R2, model=TRAINER, unit_micros=1.0, at=NOW - 6 * DAY),
            ),
            "bound_requests": frozenset({f"fal/{R2}"}),
        },
        [(K.PRICE_CHANGED, "")],
    ),
    "a model that nobody here uses": (
        {"bills": (bill(), bill(R2, model="fal-ai/veo3.1", unit_micros=1), bill(R2, model="fal-ai/veo3.1")),
         "bound_requests": frozenset({f"fal/{R2}"})},
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_differences_of_each_case_are_found(name: str) -> None:
    changes, expected = CASES[name]
    found = compare(facts(**changes), LIMITS)
    assert sorted((each.kind, each.request_id) for each in found) == sorted(expected)


def test_each_kind_occurs_in_a_case() -> None:
    shared = K.OTHER_USERS_REQUEST
    assert {kind for _, expected in CASES.values() for kind, _ in expected} | {shared} == set(K)


def test_other_users_requests_are_their_own_kind_when_shared() -> None:
    given = facts(requests=(listed(), listed(R2), listed(R3)), looked_up={f"fal/{R3}": listed(R3, input=INPUT)})
    found = compare(given, LIMITS.model_copy(update={"shared_account": True}))
    # the second request of our own purchase stays an alert
    assert {(each.kind, each.request_id) for each in found} == {(K.OTHER_USERS_REQUEST, R2), (K.BILLED_TWICE, R3)}


def test_a_finding_names_the_purchase_and_the_amounts() -> None:
    (found,) = compare(facts(bills=(bill(micros=80_000, list_micros=90_000),)), LIMITS)
    assert (found.namespace, found.resource_kind, found.name) == ("red", "ImageGeneration", "cat")
    assert (found.purchase_id, found.expected_micros, found.billed_micros) == ("p-cat", 50_000, 80_000)
    assert found.text == "billed 0.09 USD before discounts; the price table gives 0.05 USD"


def test_a_price_change_names_both_prices() -> None:
    (found,) = compare(facts(bills=(bill(micros=60_000, list_micros=60_000, unit_micros=30_000),)), LIMITS)
    assert found.model == MODEL
    assert (found.expected_micros, found.billed_micros) == (25_000, 30_000)
    assert found.text == (
        "fal-ai/flux/dev: 0.025 USD by built-in prices of 2026-11, 0.03 USD by fal's bills, per megapixel"
    )


# Named accounts


def accounts_read() -> tuple[Coverage, ...]:
    return (*READ, *(each.model_copy(update={"account": "ads"}) for each in READ))


ACCOUNT_CASES: dict[str, tuple[dict[str, Any], list[tuple[FindingKind, str, str]]]] = {
    "all is as bought": (
        {"requests": (listed(), listed(R2, account="ads")), "bills": (bill(), bill(R2, account="ads")),
         "purchases": (bought(), bought("b", request_id=R2, correlation_key="b", account="ads"))},
        [],
    ),
    "a request of the named account's purchase that the default account lists: both have one key": (
        {"requests": (listed(), listed(R2), listed(R2, account="ads")),
         "bills": (bill(), bill(R2), bill(R2, account="ads")),
         "purchases": (bought(), bought("b", request_id=R2, correlation_key="b", account="ads"))},
        [],
    ),
    "an unknown request of the named account": (
        {"requests": (listed(), listed(R2, account="ads"))},
        [(K.UNKNOWN_REQUEST, R2, "ads")],
    ),
    "an unknown bill of the named account": (
        {"bills": (bill(), bill(R2, account="ads"))},
        [(K.UNKNOWN_REQUEST, R2, "ads")],
    ),
    "the named account does not know a request": (
        {"purchases": (bought(), bought("b", request_id=R2, correlation_key="b", account="ads")),
         "looked_up": {f"fal/{R2}": None}},
        [(K.MISSING_REQUEST, R2, "ads"), (K.NOT_BILLED, R2, "ads")],
    ),
    "the request of a lost reply of the named account": (
        {"requests": (listed(), listed(R2, account="ads")), "purchases": (bought(correlation_key="m"), lost_of("ads")),
         "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)}},
        [],
    ),
    "a lost reply accounts for no request of another account": (
        {"requests": (listed(), listed(R2)), "purchases": (bought(correlation_key="m"), lost_of("ads")),
         "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)}},
        [(K.UNKNOWN_REQUEST, R2, "default")],
    ),
    "a lost reply, where two accounts have one key": (
        {"requests": (listed(), listed(R2), listed(R2, account="ads")),
         "purchases": (bought(correlation_key="m"), lost_of("ads")),
         "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)}},
        [],
    ),
    "a second request with the input of a purchase, by the other account": (
        {"requests": (listed(), listed(R2, account="ads")), "looked_up": {f"fal/{R2}": listed(R2, input=INPUT)}},
        [(K.BILLED_TWICE, R2, "ads")],
    ),
    "the amount of the named account": (
        {"requests": (listed(), listed(R2, account="ads")),
         "bills": (bill(), bill(R2, micros=90_000, list_micros=90_000, account="ads")),
         "purchases": (bought(), bought("b", request_id=R2, correlation_key="b", account="ads"))},
        [(K.AMOUNT_DIFFERS, R2, "ads")],
    ),
    "a new price in one account explains no amount of the other": (
        {"requests": (listed(), listed(R2, account="ads")),
         "bills": (bill(micros=60_000, list_micros=60_000),
                   bill(R2, micros=60_000, list_micros=60_000, unit_micros=30_000, account="ads")),
         "purchases": (bought(), bought("b", request_id=R2, correlation_key="b", account="ads"))},
        [(K.AMOUNT_DIFFERS, R1, "default"), (K.PRICE_CHANGED, "", "ads")],
    ),
    "the price list of the named account": (
        {"listed_of": {"ads": {TRAINER: Price(micros=3000, unit=Unit.STEP, source="fal")}}},
        [(K.PRICE_CHANGED, "", "ads")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCOUNT_CASES)
def test_each_account_is_compared_with_its_own_purchases(name: str) -> None:
    changes, expected = ACCOUNT_CASES[name]
    found = compare(facts(**({"coverage": accounts_read()} | changes)), LIMITS)
    assert sorted((each.kind, each.request_id, each.account) for each in found) == sorted(expected)


@pytest.mark.parametrize("coverage", [READ, (*READ, *(each.model_copy(update={"account": "b"}) for each in READ))])
def test_purchases_of_an_unread_account_are_no_findings(coverage: tuple[Coverage, ...]) -> None:
    given = facts(purchases=(bought(), bought("b", request_id=R2, account="ads")), coverage=coverage)
    assert wanted_checks(given, LIMITS) == ()
    assert compare(given.model_copy(update={"looked_up": {f"fal/{R2}": None}}), LIMITS) == ()


def test_the_request_of_a_named_account_is_no_request_of_others() -> None:
    given = facts(
        requests=(listed(), listed(R2)),
        purchases=(bought(), bought("b", request_id=R2, correlation_key="b", account="ads")),
    )
    assert compare(given, LIMITS.model_copy(update={"shared_account": True})) == ()


def test_unknown_requests_of_an_account_leave_reads_for_others() -> None:
    many = [listed(f"dev-{number}") for number in range(60)]
    found = wanted_inputs(facts(requests=(listed(), *many, listed(R2, account="ads"))), LIMITS)
    assert [each.request_id for each in found if each.account == "ads"] == [R2]
    assert len(found) == 51


def test_equal_price_changes_of_two_accounts_are_two_findings() -> None:
    prices = {TRAINER: Price(micros=3000, unit=Unit.STEP, source="fal")}
    found = compare(facts(listed=prices, listed_of={"ads": prices}, coverage=accounts_read()), LIMITS)
    assert len({each.identity for each in found}) == 2


def test_findings_have_no_input() -> None:
    secret = {"prompt": "private words", "image_url": "https://s3.test/b/k?X-Amz-Signature=secret"}
    given = facts(requests=(listed(), listed(R2, input=secret)))
    (found,) = compare(given, LIMITS)
    assert "private" not in str(found)
    assert "secret" not in str(found)


def test_a_purchase_with_a_malformed_key_is_compared() -> None:
    entry = AuditedPurchase(key="legacy", purchase=bought().purchase)
    (found,) = compare(facts(purchases=(entry,), bills=()), LIMITS)
    assert (found.kind, found.namespace, found.purchase_id) == (K.NOT_BILLED, "", "p-cat")


def test_inputs_of_lost_requests_are_read_first() -> None:
    other = listed("other", model="fal-ai/veo3.1")
    dev = [listed(f"dev-{number}", sent_at=NOW - 4 * DAY + number * MINUTE) for number in range(60)]
    schnell = listed("schnell", model="fal-ai/flux/schnell", sent_at=NOW - 6 * DAY)
    missing = lost().purchase.model_copy(update={"model": "fal-ai/flux/schnell"})
    given = facts(
        requests=(listed(), other, *dev, schnell), purchases=(bought(), AuditedPurchase(key="k", purchase=missing))
    )
    found = wanted_inputs(given, LIMITS)
    assert [each.request_id for each in found[:3]] == ["schnell", "dev-59", "dev-58"]
    assert len(found) == 50
    assert other not in found


def test_ids_are_looked_up_of_requests_that_the_list_omits() -> None:
    given = facts(requests=(), purchases=(bought(), sound()))
    assert {check.identity for check in wanted_checks(given, LIMITS)} == {f"fal/{R1}", f"assemblyai/{R2}"}
    assert wanted_checks(facts(), LIMITS) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, set()),
        ({}, set()),
        ({"prompt": "a"}, set()),
        (INPUT, {CORRELATION_KEY}),
        ({"audio_url": "https://bucket.s3.test/a/b.flac?X=1"}, {"a/b.flac", "b.flac"}),
        ({"audio_url": "https://s3.test/bucket/a%20c/b.flac"}, {"bucket/a c/b.flac", "a c/b.flac", "b.flac"}),
        ({"audio_url": "://"}, set()),
        ({"seed": ["x"], "prompt": {"y": 1}}, {"seed:['x'] prompt:{'y': 1}"}),
    ],
)
def test_markers_of_an_input(given: dict[str, Any] | None, expected: set[str]) -> None:
    assert possible_correlation_keys(given) == expected


def test_a_url_of_many_parts_has_a_bounded_number_of_correlation_keys() -> None:
    assert len(possible_correlation_keys({"audio_url": "https://x.test/" + "a/" * 5000})) <= 30
