"""Error replies in any shape, and what a decision makes of a refusal: who waits, what ends, what is bought again."""

import itertools
import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from contentgen_contract.characters import plain_text
from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.texts import foreign_text
from contentgen_operator.providers.base import (
    Blocked,
    Busy,
    InputUnread,
    KeyRefused,
    MaybeAccepted,
    ProviderError,
    Refused,
    endpoint_failure,
)
from contentgen_operator.providers.refusals import error_text, is_repeatable, refusal
from contentgen_operator.queue.fair_turns import Endpoint, PlaceLimits
from contentgen_operator.state.provider_requests import RequestState, RequestView
from contentgen_operator.state.purchases import PurchaseState
from contentgen_simulation.queue_driver import QueueDriver, limited_driver
from contentgen_simulation.world import SPECS, World

IMAGES = Kind.IMAGE_GENERATION
ENDPOINT = Endpoint("fal", "fal-ai/flux-lora")


def reply(code: int, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(code, content=content, headers=headers, request=httpx.Request("POST", "https://fal"))


DETAILS = [
    ("text", "text"),
    (["a", "b"], "a; b"),
    ([{"msg": "m"}], "m"),
    ([{"loc": None, "msg": "m"}], "m"),
    ([{"loc": 3, "msg": "m"}], "3: m"),
    ([{"loc": True, "msg": "m"}], "m"),
    ([{"loc": "body.prompt", "msg": "m"}], "body.prompt: m"),
    ([{"loc": ["body", None, 0, "x"], "msg": "m"}], "body.0.x: m"),
    ([{"loc": {"body": 1}, "msg": "m"}], "m"),
    ([{"loc": [], "msg": None}], ""),
    (
        [{"loc": ["body", "steps"], "msg": ["too", "many"]}, None, 7, [{"msg": "deep"}]],
        "body.steps: too; many; 7; deep",
    ),
    ({"message": "m"}, "m"),
    ({"error": {"type": "t", "message": "m"}}, "m"),
    ({"code": "E1", "input": "secret"}, "code: E1"),
    (None, ""),
    (False, ""),
    (5, "5"),
    ([], ""),
    ([[]], ""),
    ("\ud800 \x00\x1b[31m\u202e\n", "\ufffd \ufffd\ufffd[31m\ufffd"),
    (
        "no https://civitai.com/api/download/models/1?type=Model&token=KEY, sorry",
        "no https://civitai.com/api/download/models/1, sorry",
    ),
]


@pytest.mark.parametrize(("detail", "text"), DETAILS, ids=ascii)
@pytest.mark.parametrize("name", ["detail", "error", "message"])
def test_an_error_in_any_shape_is_told(name: str, detail: Any, text: str) -> None:
    given = reply(422, {name: detail})
    assert error_text(given) == text
    error = refusal("fal", "fal", given)
    assert type(error) is Refused, "a refused request is never taken for a lost one"
    assert text in str(error)
    str(error).encode()


DEEP = b'{"detail":' + b"[" * 400 + b"]" * 400 + b"}"
BODIES = [
    b"",
    b"null",
    b"7",
    b"[]",
    b"{}",
    b'"x"',
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"{",
    DEEP,
    b"[" * 200_000,
    b"9" * 5000,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: ascii(body[:12]))
@pytest.mark.parametrize("code", [400, 403, 408, 409, 422, 425, 429, 499, 500])
def test_no_body_makes_a_refusal_unreadable(code: int, body: bytes) -> None:
    kinds = {403: Blocked, 425: Busy, 429: Busy} | dict.fromkeys((408, 409, 499, 500), MaybeAccepted)
    error = refusal("fal", "fal", reply(code, body, **{"retry-after": "soon"}))
    assert type(error) is kinds.get(code, Refused)
    is_repeatable(code, None)


FORBIDDEN: list[tuple[Any, type[ProviderError]]] = [
    (
        {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."},
        KeyRefused,
    ),
    ({"error": {"type": "authorization_error", "message": "no"}}, KeyRefused),
    ({"error": "Invalid API key"}, KeyRefused),
    ({"detail": "Your account is suspended for violations of the content policy"}, KeyRefused),
    ({"detail": [{"loc": ["header", "authorization"], "msg": "no"}]}, KeyRefused),
    ({"detail": [{"loc": ["header", "x-api-key"], "msg": "no", "type": "value_error"}]}, KeyRefused),
    ({"error": {"code": "insufficient_balance", "message": "no"}}, KeyRefused),
    ({"error": {"code": "InvalidApiKey", "message": "no"}}, KeyRefused),
    ({"error": {"code": "model_quota_exceeded", "message": "no"}}, KeyRefused),
    ({"detail": [{"loc": ["body", "prompt"], "msg": "no"}]}, Refused),
    ({"detail": [{"loc": "body.prompt", "msg": "no"}]}, Refused),
    ({"detail": [{"loc": ["body"], "msg": "no", "type": "content_policy_violation"}]}, Refused),
    ({"error": {"code": "moderation_blocked", "message": "no"}}, Refused),
    ({"detail": "You do not have access to this model"}, Refused),
    ({"detail": "The prompt was flagged by moderation"}, Refused),
    ({"detail": "Forbidden"}, Blocked),
    ({"title": "Access denied", "status": 403, "error_code": 1010}, Blocked),
    ([], Blocked),
    (None, Blocked),
    (b"<html>Your account and this model are blocked</html>", Blocked),
]


@pytest.mark.parametrize(("body", "kind"), FORBIDDEN, ids=ascii)
def test_a_403_ends_only_what_names_the_input(body: Any, kind: type[ProviderError]) -> None:
    error = refusal("fal", "fal", reply(403, body))
    assert type(error) is kind
    assert bool(endpoint_failure(error)) is (kind is KeyRefused), "only the account is a failure of the endpoint"


UNREAD = {"loc": ["body", "images_data_url"], "msg": "no", "type": "file_download_error"}


@pytest.mark.parametrize(
    ("code", "body", "headers", "again"),
    [
        (422, {"detail": [UNREAD]}, {}, True),
        (422, {"detail": [UNREAD | {"loc": ["body", "loras", 0, "path"]}]}, {}, False),
        (422, {"detail": [{"loc": ["body", "loras", 0, "scale"], "type": "less_than_equal"}]}, {}, False),
        (422, {"detail": "bad"}, {"x-fal-retryable": "TRUE"}, True),
        (422, {"detail": "bad"}, {"x-fal-retryable": "maybe"}, False),
        (400, {"detail": "bad"}, {}, False),
        (413, b"", {}, False),
        (499, b"", {}, True),
        (500, {"detail": [UNREAD]}, {}, True),
        (504, b"", {}, True),
    ],
)
def test_refusal_of_an_input_is_not_repeatable(code: int, body: Any, headers: dict[str, str], *, again: bool) -> None:
    document = body if not isinstance(body, bytes) else None
    assert is_repeatable(code, document, httpx.Headers(headers)) is again
    if code == 422:
        assert type(refusal("fal", "fal", reply(code, body, **headers))) is (InputUnread if again else Refused)


# What the decisions do


@pytest.mark.parametrize("error", [Blocked("fal answered 403"), InputUnread("fal answered 422")], ids=repr)
async def test_a_blocked_request_waits_with_growing_pauses(world: World, error: ProviderError) -> None:
    world.decision_settings = world.decision_settings.model_copy(update={"poll_seconds": 200})
    world.restart()
    world.provider.refuses = error
    world.kube.apply(IMAGES, SPECS[IMAGES])
    times = dict[int, datetime]()  # of each refusal
    while len(times) < 7:
        await world.reconcile(IMAGES)
        for kept in world.database["ledger"].find({"state": PurchaseState.REFUSED.value}):
            times.setdefault(kept["tries"], world.now)
        assert len(world.kube.statuses) < 100
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times.values())]
    assert pauses == sorted(pauses)
    assert pauses[0] < 1000
    assert 3600 <= pauses[-1] < 3700
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.phase, status.reason) == (Phase.SUBMITTING, Reason.PROVIDER_UNAVAILABLE)
    assert str(error)[:60] in (status.message or "")
    assert world.provider.posts == []
    world.provider.refuses = None
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


def blocked(monkeypatch: pytest.MonkeyPatch, *namespaces: str) -> QueueDriver:
    driver = limited_driver(monkeypatch, PlaceLimits())
    driver.world.provider.refuses = Blocked("fal answered 403")
    for number, namespace in enumerate(namespaces):
        driver.apply(namespace, f"it-{number}")
    return driver


async def test_only_blocks_of_several_namespaces_open_the_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = blocked(monkeypatch, "a", "a", "a", "a", "a", "a", "b")
    await driver.run(reconciles=60)
    assert dict(driver.world.payment_queue.circuits) == {}
    driver.world.provider.refuses = None
    driver.apply("c", "other")
    await driver.run(reconciles=20)
    assert len(driver.world.provider.posts) == 1, "nobody else waits"
    driver = blocked(monkeypatch, "a", "b", "c")
    await driver.run(reconciles=60)
    assert driver.world.payment_queue.circuits[ENDPOINT] == "open"


@pytest.mark.parametrize(("repeatable", "posts"), [(False, 1), (True, 2)])
async def test_a_refused_input_is_not_bought_again(world: World, *, repeatable: bool, posts: int) -> None:
    failed = RequestView(state=RequestState.FAILED, message="body.loras.0.scale: at most 4", repeatable=repeatable)

    async def poll(model: str, request_id: str) -> RequestView:
        return failed

    world.provider.poll = poll  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"paidAttempts": 2})
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.PROVIDER_FAILED)
    assert len(world.provider.posts) == posts
    assert ("nothing more is bought although spec.paidAttempts is 2" in (status.message or "")) is not repeatable


# Texts of others


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\U0001f600 ünï \u200d ok", "\U0001f600 ünï \u200d ok"),
        ("one\r\n\ttwo\u2028three", "one two three"),
        ("\x00\x07\x1b[2J\x7f\x9b", "\ufffd\ufffd\ufffd[2J\ufffd\ufffd"),
        ("\u202eevil\u2066\u200f\U000e0041\ufeff", "\ufffdevil\ufffd\ufffd\ufffd\ufffd"),
    ],
    ids=ascii,
)
def test_a_text_of_others_is_plain(given: str, shown: str) -> None:
    assert plain_text(given) == foreign_text(given) == shown


@pytest.mark.parametrize("text", ["x" * 10**6, "https://h/" + "a" * 10**6 + "?token=1", "://" * 10**5], ids=len)
def test_a_long_text_is_cut(text: str) -> None:
    assert len(foreign_text(text)) <= 600
    assert "token" not in foreign_text(text)
