"""Objects of the tries to send a purchase: no try is sent without one, and a restored ledger sends nothing."""

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from pymongo.errors import AutoReconnect

from contentgen_contract.names import RESUBMIT_ANNOTATION, Kind, Phase
from contentgen_contract.records import keys
from contentgen_operator.leader.leadership import NotLeading
from contentgen_operator.providers.base import Busy, Refused
from contentgen_operator.state.sends import LastSend, Send, SendEnd, SendEnding, last_send
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.sends import SendObjects
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import SPECS, World, Writes, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")
IMAGES = Kind.IMAGE_GENERATION
AT = "purchases/by-key/" + "a" * 64 + "/00000000"


def world_of(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES])
    return world


def purchase(world: World) -> dict[str, Any]:
    (only,) = world.database["ledger"].find()
    return dict(only)


def tries(world: World) -> dict[str, Any]:
    """Contents of the objects, by number of the try, with `-end` for an end."""
    found = sorted((of, key) for key in world.storage.objects if (of := keys.send_of(key)) is not None)
    named = {key: f"{of.number}{'-end' if of.is_end else ''}" for of, key in found}
    models: dict[bool, Any] = {True: SendEnd, False: Send}
    return {n: models["end" in n].model_validate_json(world.storage.objects[key]) for key, n in named.items()}


async def until(world: World, state: str, send_state: str | None = None) -> None:
    for _ in range(20):
        await world.reconcile(IMAGES)
        found = list(world.database["ledger"].find())
        if found and (found[0]["state"], found[0]["sendState"]) == (state, send_state):
            return
    pytest.fail(f"not {state}: {found}")


@pytest.mark.parametrize(
    ("names", "last"),
    [
        ((), LastSend()),
        (("1.json",), LastSend(number=1, ended=False)),
        (("1.json", "1-end.json"), LastSend(number=1)),
        (("1-end.json",), LastSend(number=1)),
        (("1.json", "1-end.json", "2.json"), LastSend(number=2, ended=False)),
        (("1.json", "3.json", "3-end.json", "other"), LastSend(number=3)),
    ],
)
def test_the_last_try(names: tuple[str, ...], last: LastSend) -> None:
    assert last_send(AT + name for name in names) == last


async def test_a_try_has_its_object_before_the_post(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    status = await world.finish(IMAGES)
    assert status.phase is Phase.COMPLETED
    done = world.writes.done
    assert done.index("sending") < done.index("evidence") < done.index("POST")
    (send,) = tries(world).values()
    bought = purchase(world)
    assert (send.sent_by, send.number, send.purchase_id) == (bought["sentBy"], 1, bought["purchaseId"])
    assert send.model == bought["model"]
    (text,) = [stored_object for key, stored_object in world.storage.objects.items() if keys.send_of(key)]
    assert b"a cat" not in text, "an image's correlation key has the prompt"
    assert b"http" not in text


@pytest.mark.parametrize("kind", [Kind.LORA_TRAINING, Kind.TRANSCRIPTION])
async def test_a_try_names_the_file_by_which_it_is_found(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind)
    (send,) = tries(world).values()
    assert send.correlation_key == purchase(world)["correlationKey"]


async def test_each_refusal_ends_its_try(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    world.provider.refuses = Busy("slow down")
    for _ in range(3):
        await until(world, "refused")
        world.now += timedelta(minutes=5)
    world.provider.refuses = None
    await world.finish(IMAGES)
    found = tries(world)
    assert list(found)[:3] == ["1", "1-end", "2"]
    assert {each.ending for name, each in found.items() if "end" in name} == {SendEnding.REFUSED}
    numbers = [each for each in found if "end" not in each]
    assert (len(world.provider.posts), str(purchase(world)["sendNumber"])) == (1, numbers[-1])
    assert f"{numbers[-1]}-end" not in found


def lost(world: World, monkeypatch: pytest.MonkeyPatch, *, written: bool) -> None:
    """Let the next creation of an object fail, after it was written or before."""
    put, failed = world.storage.put_evidence, list[str]()

    async def put_evidence(key: str, body: bytes) -> bool:
        if not failed:
            failed.append(key)
            if written:
                await put(key, body)
            raise ReadTimeoutError(endpoint_url="s3")
        return await put(key, body)

    monkeypatch.setattr(world.storage, "put_evidence", put_evidence)


async def test_an_object_whose_reply_was_lost_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    lost(world, monkeypatch, written=True)
    await world.finish(IMAGES)
    assert (len(world.provider.posts), list(tries(world))) == (1, ["1"])


def not_leading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Lease end between the compare-and-set and the POST."""
    required: Callable[[float], None] = world.leadership.require
    asked = list[float]()

    def require(seconds: float = 0.0) -> None:
        asked.append(seconds)
        if len(asked) == 2:
            raise NotLeading("the Lease ends")
        required(seconds)

    monkeypatch.setattr(world.leadership, "require", require)


@pytest.mark.parametrize("how", ["the store fails", "the Lease ends"])
async def test_failure_before_the_first_byte_leaves_it_planned(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    if how == "the store fails":
        lost(world, monkeypatch, written=False)
    else:
        not_leading(world, monkeypatch)
    await until(world, "intent", "planned")
    for _ in range(10):
        if not tries(world):
            await world.reconcile(IMAGES)
    assert (purchase(world)["sendState"], world.provider.posts) == ("planned", [])
    found = tries(world)
    assert found["1"].closed or found["1-end"].ending is SendEnding.UNSENT
    await world.finish(IMAGES)
    assert (len(world.provider.posts), purchase(world)["sendNumber"]) == (1, 2)


async def test_a_try_that_another_process_has_closed_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen leader wakes between its compare-and-set and its object; a person has allowed the next attempt."""
    world = world_of(monkeypatch)
    frozen = list[str]()
    put = world.storage.put_evidence

    async def put_evidence(key: str, body: bytes) -> bool:
        if not frozen:
            frozen.append(key)
            token = await _abandoned(world)
            assert token
        return await put(key, body)

    monkeypatch.setattr(world.storage, "put_evidence", put_evidence)
    for _ in range(10):
        await world.reconcile(IMAGES)
    (first, second) = sorted(world.database["ledger"].find(), key=lambda each: str(each["_id"]))
    assert (first["sendState"], len(world.provider.posts)) == ("abandoned", 1)
    assert second["requestId"] == "request-1"
    assert tries(world)["1"].closed or Send.model_validate_json(world.storage.objects[frozen[0]]).closed


async def _abandoned(world: World) -> str:
    """Another process searches in vain, and follows a person's resubmit."""
    other = world.operator()
    world.now += timedelta(days=2)
    main, world.process = world.process, other
    try:
        for _ in range(4):
            await world.reconcile(IMAGES)
        token = resubmit_token(world.status(IMAGES))
        world.kube.apply(IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: token})
        for _ in range(3):
            await world.reconcile(IMAGES)
    finally:
        world.process = main
    return token


@pytest.mark.parametrize("state", ["planned", "refused"])
async def test_a_restored_ledger_is_searched_and_not_sent(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is of the same moment."""
    world = world_of(monkeypatch)
    if state == "planned":
        await until(world, "intent", "planned")
    else:
        world.provider.refuses = Busy("slow down")
        await until(world, "refused")
        world.provider.refuses = None
    before = copy.deepcopy((world.kube.resources, {n: list(world.database[n].find()) for n in ("ledger", "runs")}))
    world.now += timedelta(minutes=5)
    await world.finish(IMAGES)
    world.kube.resources = before[0]
    for name, documents in before[1].items():
        world.database[name].delete_many({})
        world.database[name].insert_many(documents)
    world.restart()
    world.now += timedelta(minutes=5)
    await world.finish(IMAGES)
    assert len(world.provider.posts) == 1
    assert purchase(world)["requestId"] == "request-1"


async def test_an_old_number_stops_nothing_that_was_refused_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nightly snapshot during an exhausted balance."""
    world = world_of(monkeypatch)
    world.provider.refuses = Busy("no balance")
    await until(world, "refused")
    before = purchase(world)
    for _ in range(3):
        world.now += timedelta(minutes=5)
        await world.reconcile(IMAGES)
        await until(world, "refused")
    highest = purchase(world)["sendNumber"]
    assert highest > before["sendNumber"]
    world.database["ledger"].replace_one({"_id": before["_id"]}, before)
    world.provider.refuses = None
    world.now += timedelta(minutes=5)
    await world.finish(IMAGES)
    assert (len(world.provider.posts), purchase(world)["sendNumber"]) == (1, highest + 1)


async def test_an_end_that_was_not_written_is_known_to_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    put = world.storage.put_evidence

    async def put_evidence(key: str, body: bytes) -> bool:
        if "-end" in key and world.provider.refuses is not None:
            raise ReadTimeoutError(endpoint_url="s3")
        return await put(key, body)

    monkeypatch.setattr(world.storage, "put_evidence", put_evidence)
    world.provider.refuses = Busy("slow down")
    await until(world, "refused")
    assert list(tries(world)) == ["1"]
    world.provider.refuses = None
    world.now += timedelta(minutes=5)
    await world.finish(IMAGES)
    assert list(tries(world)) == ["1", "1-end", "2"]
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("refused", [None, Refused("no")])
async def test_a_post_whose_hook_was_not_called_is_not_sent_again(
    refused: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is sent, and MongoDB fails at that moment."""
    world = world_of(monkeypatch)
    submit = world.provider.submit

    async def unannounced(call: Any, _: Any) -> str:
        async def never() -> None: ...

        return await submit(call, never)

    def fails(*_: object) -> bool:
        raise AutoReconnect("gone")

    monkeypatch.setattr(world.provider, "submit", unannounced)
    with monkeypatch.context() as down:
        down.setattr(Ledger, "_note_sent", fails)
        for _ in range(4):
            await world.reconcile(IMAGES)
    for _ in range(6):
        await world.reconcile(IMAGES)
    assert len(world.provider.posts) == 1
    assert purchase(world)["sendState"] != "planned"


async def test_request_is_sent_only_if_the_ledger_has_it_as_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    monkeypatch.setattr(Ledger, "_send", lambda *_: None)
    for _ in range(6):
        await world.reconcile(IMAGES)
    assert (world.provider.posts, tries(world)) == ([], {})


async def test_a_malformed_object_stops_the_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    await until(world, "intent", "planned")
    world.storage.objects[keys.send_object(purchase(world)["_id"], 1)] = b"{"
    for _ in range(6):
        await world.reconcile(IMAGES)
    assert (world.provider.posts, purchase(world)["sendState"]) == ([], "sending")


async def test_the_object_of_another_process_is_neither_used_nor_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    await world.finish(IMAGES)
    objects: Any = world.storage
    sends, (send,), bought = SendObjects(objects), tries(world).values(), purchase(world)
    other = send.model_copy(update={"sent_by": "another"})
    key: Any = bought["_id"]
    await sends.create(key, send)
    with pytest.raises(Conflict):
        await sends.create(key, other)
    await sends.take_back(key, other)
    assert not await sends.close(key, other)
    assert list(tries(world)) == ["1"]
