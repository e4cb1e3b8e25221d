"""Namespaces: all, a list or a label selector. Those that leave are released, and nothing is paid twice."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any, cast

import pytest
from kubernetes.aio.client.exceptions import ApiException
from pydantic import ValidationError

from contentgen_contract.api_paths import NAMESPACES
from contentgen_contract.names import FINALIZER, Kind, Phase
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_gateway.live.namespaces import apply
from contentgen_gateway.live.watching import ListComplete, ObjectChanged, ObjectDeleted, Seen, follow
from contentgen_gateway.settings import Settings as GatewaySettings
from contentgen_operator.background.releases import NamespaceReleases
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import Selection
from contentgen_operator.settings import Settings
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.watch import lists as module
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.lists import ResourceLists
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.kube import KubeApi
from contentgen_runtime.namespaces import Namespaces
from contentgen_simulation.world import SPECS, UID, World, Writes

IMAGES = Kind.IMAGE_GENERATION
LABELS = LabelSelector(match_labels={"contentgen.dev/enabled": "true"})
REF = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)


def namespace(name: str, uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or f"uid-of-{name}", "resourceVersion": "1"}}


def resource(namespace: str, name: str = "it", *finalizers: str, **spec: Any) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "uid": f"uid-of-{name}", "resourceVersion": "1", "generation": 1}
    return {"metadata": meta | {"finalizers": list(finalizers)}, "spec": spec, "status": {}}


# Settings


@pytest.mark.parametrize("settings", [Settings, GatewaySettings])
def test_the_settings_as_the_chart_writes_them(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_WATCH_NAMESPACES", "[]")
    monkeypatch.setenv("CONTENTGEN_WATCH_NAMESPACE_SELECTOR", "")
    assert (settings().watch_namespaces, settings().watch_namespace_selector) == ((), None)
    monkeypatch.setenv("CONTENTGEN_WATCH_NAMESPACES", '["marketing", "research"]')
    assert settings().watch_namespaces == ("marketing", "research")
    monkeypatch.setenv("CONTENTGEN_WATCH_NAMESPACE_SELECTOR", '{"matchLabels": {"contentgen.dev/enabled": "true"}}')
    assert settings().watch_namespace_selector == LABELS


def test_a_selector_as_the_parameter_of_a_request() -> None:
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"team": "a", "contentgen.dev/enabled": "true"},
            "matchExpressions": [
                {"key": "stage", "operator": "In", "values": ["test", "live"]},
                {"key": "stage", "operator": "NotIn", "values": ["old"]},
                {"key": "owner", "operator": "Exists"},
                {"key": "gone", "operator": "DoesNotExist"},
            ],
        }
    )
    assert str(selector) == ("contentgen.dev/enabled=true,team=a,stage in (test,live),stage notin (old),owner,!gone")


@pytest.mark.parametrize(
    "given",
    [
        {},  # would select all
        {"matchLabels": {}},
        {"matchlabels": {"a": "b"}},
        {"matchLabels": {"a": "b,c=d"}},
        {"matchLabels": {"a,b": "c"}},
        {"matchExpressions": [{"key": "a", "operator": "In"}]},
        {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
        {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]},
    ],
)
def test_a_selector_that_selects_more_than_it_says_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LabelSelector.model_validate(given)


@pytest.mark.parametrize("name", ["*", "a/b", "A", "", "!a", "team-*"])
def test_a_pattern_is_no_namespace(name: str) -> None:
    """kopf would accept it as one."""
    with pytest.raises(ValidationError):
        Settings(watch_namespaces=(name,))


# Which are selected


async def test_labels_select_and_their_loss_deselects() -> None:
    """The gateway's watch; the operator's is in watch/test_kopf_watches.py."""
    selected = Namespaces(selector=LABELS)
    for seen in (ObjectChanged(namespace("a")), ObjectChanged(namespace("b"))):
        apply(selected, seen)
    assert not selected.known.is_set()
    apply(selected, ListComplete(frozenset({"uid-of-a", "uid-of-b"})))
    assert (selected.known.is_set(), "a" in selected, "c" in selected) == (True, True, False)
    for seen in (ObjectChanged(namespace("c")), ObjectDeleted(namespace("a"))):
        apply(selected, seen)
    assert ("a" in selected, "c" in selected) == (False, True)
    apply(selected, ListComplete(frozenset({"uid-of-c"})))
    assert "b" not in selected, "it lost them while the watch was broken"


async def test_lists_and_all_are_known_at_once() -> None:
    assert [name in Namespaces() for name in ("a", "")] == [True, True]
    listed = Namespaces(("a", "b", "a"))
    assert (listed.scopes, Namespaces().scopes, Namespaces(selector=LABELS).scopes) == (("a", "b"), ("",), ("",))
    assert ["a" in listed, "c" in listed, "" in listed] == [True, False, False]
    assert listed.known.is_set()


def test_a_selection_by_namespace_and_class() -> None:
    mine = Selection("team", Namespaces(("a",)))
    assert mine.serves(resource("a", operatorClass="team"))
    assert not mine.serves(resource("b", operatorClass="team"))
    assert not mine.serves(resource("a"))
    assert mine.has_left(resource("b", operatorClass="team"))
    assert not mine.has_left(resource("a", operatorClass="team"))
    assert not mine.has_left(resource("b")), "another installation serves it"
    unknown = Selection("team", Namespaces(selector=LABELS))
    assert not unknown.serves(resource("a", operatorClass="team"))
    assert not unknown.has_left(resource("a", operatorClass="team")), "before the first list"


# The watches' handlers


class Lists:
    """Lists of the API server; `refused` namespaces are answered 403, `away` ones once 503."""

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self.bodies = bodies
        self.refused: set[str] = set()
        self.away = 0
        self.asked: list[str] = []

    async def every(self, kind: Kind, namespace: str = "") -> AsyncIterator[dict[str, Any]]:
        self.asked.append(namespace)
        if self.away:
            self.away -= 1
            raise ApiException(status=503)
        if namespace in self.refused:
            raise ApiException(status=403)
        for body in self.bodies:
            if kind is IMAGES and namespace in ("", body["metadata"]["namespace"]):
                yield body

    unfinished = every


class Woken:
    """Event handlers, and the resources that they woke."""

    def __init__(self, namespaces: Namespaces) -> None:
        self.names: list[str] = []
        self.left: list[str] = []
        self.cache = Cache()
        self.handlers = EventHandlers(
            self.cache, self._wake, Reports(), selection=Selection(namespaces=namespaces), on_deselected=self._leave
        )

    def lists(self, api: Lists) -> ResourceLists:
        return ResourceLists(cast("Kube", api), self.handlers.selection.namespaces, WatchLiveness(), self.handlers)

    async def _wake(self, ref: ResourceRef) -> None:
        self.names.append(ref.name)

    def _leave(self, ref: ResourceRef, _: Any) -> None:
        self.left.append(ref.name)


async def test_a_namespace_of_a_list_without_a_role_hides_no_other() -> None:
    woken = Woken(Namespaces(("a", "b", "c")))
    lists = Lists(resource("a", "one"), resource("c", "three"))
    lists.refused = {"a", "b"}
    await woken.lists(lists).list_unfinished()
    assert woken.names == ["three"]


async def test_gained_labels_start_and_lost_labels_end_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0)
    namespaces = Namespaces(selector=LABELS)
    namespaces.known.set()
    woken, lists = Woken(namespaces), Lists(resource("a", "one"), resource("b", "two"))
    await woken.lists(lists).list_unfinished()
    assert (woken.names, woken.cache.refs()) == ([], ())
    namespaces._uids["b"] = "uid-of-b"
    lists.away = 2
    await woken.lists(lists).list_namespace("b")
    assert (woken.names, [ref.name for ref in woken.cache.refs()]) == (["two"], ["two"])
    assert set(lists.asked[3:]) == {"b"}
    woken.left.clear()
    del namespaces._uids["b"]
    await woken.lists(lists).list_namespace("b")
    assert (woken.cache.refs(), woken.left, woken.names) == ((), ["two"], ["two"])


# Released


def selected_world(monkeypatch: pytest.MonkeyPatch) -> tuple[World, Namespaces]:
    """World whose namespace has the labels."""
    world = World(monkeypatch, Writes())
    namespaces = Namespaces(selector=LABELS)
    namespaces._uids["ns"] = "a-namespace"
    namespaces.known.set()
    world.selection = Selection(namespaces=namespaces)
    world.restart()
    return world, namespaces


async def until(world: World, reached: Callable[[], bool]) -> None:
    for _ in range(60):
        if reached():
            return
        await world.reconcile(IMAGES)
    raise AssertionError("it does not come to that")


def states(world: World) -> list[str]:
    return [purchase["state"] for purchase in world.database["ledger"].find()]


async def release(world: World) -> None:
    """Deliver a resource to the leader."""
    leaving = NamespaceReleases(cast("Kube", world.kube), world.selection)
    leaving.note(REF, world.kube.resources[IMAGES, "it"])
    await leaving.release()


async def test_run_in_flight_is_released_and_resumes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, namespaces = selected_world(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await until(world, lambda: states(world) == ["submitted"])
    meta = world.kube.resources[IMAGES, "it"]["metadata"]
    assert meta["finalizers"] == [FINALIZER]
    meta["finalizers"].append("somebody.else/needs-it")
    del namespaces._uids["ns"]
    before = len(world.writes.done)
    await release(world)
    assert meta["finalizers"] == ["somebody.else/needs-it"]
    for _ in range(5):
        await world.reconcile(IMAGES)
    assert world.writes.done[before:] == ["finalizers"], "nothing else is written to it, nor sent"
    for _ in range(4):
        world.now += timedelta(minutes=30)
        await world.orphans[-1].round(world.now)
    (kept,) = world.database["ledger"].find()
    assert (kept["state"], kept["orphanedAt"]) == ("succeeded", None), "its response is stored meanwhile"
    world.now += timedelta(days=300)
    await world.orphans[-1].round(world.now)
    assert states(world) == ["succeeded"], "a resource that exists is no orphan"
    namespaces._uids["ns"] = "a-namespace"
    status = await world.finish(IMAGES)
    assert (status.phase, len(world.provider.posts), states(world)) == (Phase.COMPLETED, 1, ["collected"])


async def test_result_is_kept_and_adopted_while_the_namespace_is_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, namespaces = selected_world(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"deletionPolicy": "Delete"})
    await until(world, lambda: states(world) == ["submitted"])
    del namespaces._uids["ns"]
    await release(world)
    world.kube.delete(IMAGES, world.now)
    assert not world.there(IMAGES), "without an operator"
    for _ in range(4):
        world.now += timedelta(minutes=30)
        await world.orphans[-1].round(world.now)
    assert (states(world), world.provider.cancelled) == (["succeeded"], [])
    namespaces._uids["ns"] = "a-namespace"
    world.kube.apply(IMAGES, SPECS[IMAGES], uid="20000000-0000-4000-8000-000000000002")
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_idle_resource_with_files_is_released_and_held_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, namespaces = selected_world(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"deletionPolicy": "Delete"})
    await world.finish(IMAGES)
    body = world.kube.resources[IMAGES, "it"]
    assert body["metadata"]["finalizers"] == [FINALIZER]
    del namespaces._uids["ns"]
    await release(world)
    assert body["metadata"]["finalizers"] == []
    namespaces._uids["ns"] = "a-namespace"
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert (body["metadata"]["finalizers"], len(world.provider.posts)) == ([FINALIZER], 1)


async def test_resources_of_other_classes_and_kinds_are_not_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, namespaces = selected_world(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    held = world.kube.resources[IMAGES, "it"]
    held["metadata"]["finalizers"] = [FINALIZER]
    leaving = NamespaceReleases(cast("Kube", world.kube), world.selection)
    leaving.note(REF, held)
    await leaving.release()
    assert held["metadata"]["finalizers"] == [FINALIZER], "the namespace was selected again meanwhile"
    del namespaces._uids["ns"]
    leaving.note(REF.model_copy(update={"uid": "another"}), held)
    await leaving.release()
    assert held["metadata"]["finalizers"] == [FINALIZER], "another resource of that name"
    held["spec"] = held["spec"] | {"operatorClass": "team"}
    leaving.note(REF, held)
    await leaving.release()
    assert held["metadata"]["finalizers"] == [FINALIZER], "another installation's"
    namespaces.known.clear()
    held["spec"] = SPECS[IMAGES]
    leaving.note(REF, held)
    await leaving.release()
    assert held["metadata"]["finalizers"] == [FINALIZER], "before the labels are known"


async def test_a_release_is_tried_again_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    world, namespaces = selected_world(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    held = world.kube.resources[IMAGES, "it"]
    held["metadata"]["finalizers"] = [FINALIZER]
    del namespaces._uids["ns"]
    put, refusals = world.kube.put_finalizers, [ApiException(status=503)]

    async def away(*asked: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await put(*asked)

    monkeypatch.setattr(world.kube, "put_finalizers", away)
    leaving = NamespaceReleases(cast("Kube", world.kube), world.selection)
    leaving.note(REF, held)
    await leaving.release()
    assert held["metadata"]["finalizers"] == [FINALIZER]
    await leaving.release()
    assert held["metadata"]["finalizers"] == []


# Purchases


async def test_a_namespace_without_a_role_holds_up_no_other_purchase(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.selection = Selection(namespaces=Namespaces(("first", "ns")))
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await until(world, lambda: states(world) == ["submitted"])
    (mine,) = world.database["ledger"].find()
    key = mine["_id"].replace("ns/", "first/", 1)
    other = {"_id": key, "namespace": "first", "jobId": "u0", "purchaseId": "p0"}
    world.database["ledger"].insert_one(mine | other)
    del world.kube.resources[IMAGES, "it"]
    world.caches[-1].forget(REF)
    read = world.kube.get_resource

    async def forbidden(kind: Kind, namespace: str, name: str) -> Any:
        if namespace == "first":
            raise ApiException(status=403)
        return await read(kind, namespace, name)

    monkeypatch.setattr(world.kube, "get_resource", forbidden)
    for _ in range(4):
        world.now += timedelta(minutes=30)
        await world.orphans[-1].round(world.now)
    assert {purchase["namespace"]: purchase["state"] for purchase in world.database["ledger"].find()} == {
        "ns": "succeeded", "first": "succeeded"
    }  # fmt: skip


# The API server's part


async def test_a_collection_is_followed_by_labels() -> None:
    """In the list and in the watch: without the second a namespace that loses the labels would stay selected."""
    asked: list[tuple[str, Any]] = []

    class Api:
        async def pages(self, *given: Any) -> AsyncIterator[Any]:
            asked.append(("list", given[2]))
            yield "5", [namespace("a")]

        async def watch(self, *given: Any) -> AsyncIterator[Any]:
            asked.append(("watch", given[3]))
            yield "DELETED", namespace("a")

    seen: list[Seen] = []
    async with aclosing(follow(cast("KubeApi", Api()), NAMESPACES, labels="a=b")) as stream:
        async for each in stream:
            seen.append(each)
            if len(seen) == 3:
                break
    assert seen[1:] == [ListComplete(frozenset({"uid-of-a"})), ObjectDeleted(namespace("a"))]
    assert asked == [("list", {"labelSelector": "a=b"}), ("watch", "a=b")]
