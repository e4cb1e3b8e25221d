"""Simulated world of one resource, run by the release whose packages are on the path, and saved as JSON.

The file runs in two processes. Current tests import it. An older release runs it as a program with its own packages
first on the path: each input line is JSON {"world", "actions"}, each output line {"world"} or {"error"}. Names that
differ between the releases are looked up at run time.
"""

import asyncio
import itertools
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bson import json_util

import contentgen_operator
from contentgen_contract.names import Kind
from contentgen_operator.providers import base
from contentgen_simulation.world import UID, Crash, World, Writes


def _module(today: str, flat: str) -> Any:
    """Module of the current packages, or of the flat packages of a5a1c84."""
    try:
        return import_module(today)
    except ModuleNotFoundError:
        return import_module(flat)


_status = _module("contentgen_contract.resources.status", "contentgen_contract.status")
_requests = _module("contentgen_operator.state.provider_requests", "contentgen_operator.providers.base")
_observed = _module("contentgen_operator.state.observed", "contentgen_operator.observed")
_BucketFile = getattr(_observed, "BucketFile", None) or _observed.Stored

Body = dict[str, Any]
Action = list[Any]  # its name, then its arguments
_MOST_STEPS = 400
_VERSIONS_APART = 10_000  # keeps the resource versions of two processes distinct


def _call(saved: Body) -> Any:
    """Call parsed from a saved document of either release; in a5a1c84 the correlation key is named `marker`."""
    name = "correlation_key" if "correlation_key" in _requests.Call.model_fields else "marker"
    keys = {"correlation_key", "correlationKey", "marker"}
    values = {name if each in keys else each: value for each, value in saved.items()}
    return _requests.Call.model_validate(values)


class CrashingWrites(Writes):
    """Ends the process at the first write with the armed name, such as "after intend" or "before POST"."""

    def __init__(self) -> None:
        super().__init__()
        self.armed: set[str] = set()

    async def __call__(self, name: str, write: Callable[[], Awaitable[Any]]) -> Any:
        self._strike(f"before {name}")
        result = await write()
        self._strike(f"after {name}")
        return result

    def _strike(self, point: str) -> None:
        if point in self.armed:
            self.armed.remove(point)
            raise Crash


class Driver:
    """One resource of one kind, with its world and the actions on it."""

    def __init__(self, kind: Kind, monkeypatch: pytest.MonkeyPatch, saved: Body | None = None) -> None:
        self.kind = kind
        self.flags: Body = {"refuse": None, "hide": False, "idle": False}
        self.sent_at: list[Any] = []
        self._writes = CrashingWrites()
        self.world = World(monkeypatch, self._writes)
        self._submit, self._find, self._work = (
            self.world.provider.submit,
            self.world.provider.find,
            self.world.work,
        )
        if saved is not None:
            self._load(saved)
        self._as_flagged()

    async def do(self, actions: Iterable[Action]) -> None:
        """Carry out actions in order."""
        for name, *given in actions:
            done = getattr(self, name)(*given)
            if done is not None:
                await done

    # Actions of people

    def apply(self, spec: Body, uid: str = UID, annotations: Body | None = None) -> None:
        """`kubectl apply`."""
        self.world.kube.apply(self.kind, spec, uid, **(annotations or {}))

    async def train(self, spec: Body, uid: str) -> None:
        """Train a LoraTraining of the same name to its end."""
        kind, before = Kind.LORA_TRAINING, self.world.now
        self.world.kube.apply(kind, spec, uid)
        await self.world.step(kind)  # starts the run of an edit
        await self.world.finish(kind)
        self.sent_at += [before] * (len(self.world.provider.posts) - len(self.sent_at))

    def annotate(self, annotations: dict[str, str]) -> None:
        """`kubectl annotate`."""
        meta = self.body["metadata"]
        meta["annotations"] = meta["annotations"] | annotations
        self._touched()

    def resubmit(self) -> None:
        """Follow the advice of a SubmissionUnknown."""
        _, _, token = str(self.body["status"]["message"]).rpartition("contentgen.dev/resubmit=")
        self.annotate({"contentgen.dev/resubmit": token.split()[0]})

    def patch(self, patch: Body) -> None:
        """A JSON merge patch of spec and annotations."""
        meta, given = self.body["metadata"], patch.get("metadata", {})
        meta["annotations"] = merged(meta["annotations"], given.get("annotations", {}))
        spec = merged(self.body["spec"], patch.get("spec", {}))
        meta["generation"] += spec != self.body["spec"]
        self.body["spec"] = spec
        self._touched()

    async def delete(self) -> None:
        """`kubectl delete`, until it is gone."""
        await self.world.until_gone(self.kind)

    def _touched(self) -> None:
        self.body["metadata"]["resourceVersion"] = str(next(self.world.kube._version))

    # Behaviour of the provider and the workers

    def refuse(self, error: str | None) -> None:
        """Make the provider refuse requests with this error; None ends it."""
        self._flag(refuse=error)

    def hide(self, hidden: bool) -> None:
        """Hide all requests in the provider's history, or show them again."""
        self._flag(hide=hidden)

    def idle(self, idle: bool) -> None:
        """Let no Job end."""
        self._flag(idle=idle)

    def _flag(self, **flags: Any) -> None:
        self.flags |= flags
        self._as_flagged()

    def lose(self, *posts: int) -> None:
        """Lose the responses to these POSTs."""
        self.world.provider.lose_replies |= set(posts)

    def fail(self, *posts: int) -> None:
        """Let these requests fail."""
        self.world.provider.fails |= set(posts)

    def _as_flagged(self) -> None:
        provider: Any = self.world.provider
        provider.submit = self._refused if self.flags["refuse"] else self._submit
        provider.find = self._hidden if self.flags["hide"] else self._find
        world: Any = self.world
        world.work = (lambda: None) if self.flags["idle"] else self._work

    async def _refused(self, *given: Any) -> str:
        for before_send in given[1:]:
            await before_send()
        raise getattr(base, self.flags["refuse"])("the provider does not take it")

    async def _hidden(self, *_: Any) -> Any:
        found: Any = getattr(_requests, "Found", None)
        return found(request_id=None, complete=True) if found else None

    # Losses of data

    def lose_files(self) -> None:
        """Delete the outputs from the bucket."""
        status = _status.ResourceStatus.model_validate(self.body["status"])
        files = [file.key for version in status.versions for file in version.files]
        purchases = self.world.database["ledger"].find({"outputs": {"$ne": None}})
        files += [file["key"] for each in purchases for file in each["outputs"]["files"]]
        for key in files:
            self.world.storage.objects.pop(key, None)

    def forget(self) -> None:
        """Empty the ledger."""
        self.world.database["ledger"].delete_many({})

    # Actions of the operator

    def arm(self, point: str) -> None:
        """Crash the process at this write."""
        self._writes.armed.add(point)

    async def struck(self) -> None:
        """Reconcile until the armed crash has happened."""
        await self._until(lambda: not self._writes.armed, "the crash")

    async def step(self, times: int = 1) -> None:
        """Reconcile several times."""
        for _ in range(times):
            await self._step()

    async def state(self, state: str, attempt: int = 1) -> None:
        """Reconcile until a purchase of this paid attempt is in a ledger state."""
        await self._until(lambda: state in self._states(attempt), f"a purchase that is {state}")

    async def reason(self, *reasons: str) -> None:
        """Reconcile until the status has one of these reasons."""
        await self._until(lambda: self.body["status"].get("reason") in reasons, f"one of {reasons}")

    async def finish(self) -> None:
        """Reconcile until the run has ended or waits for a user."""
        ends = ("Completed", "Failed", "SubmissionUnknown", "Suspended")
        await self._until(lambda: self.body["status"].get("phase") in ends, "the end")

    async def _until(self, met: Callable[[], bool], what: str) -> None:
        for _ in range(_MOST_STEPS):
            if met():
                return
            await self._step()
        raise AssertionError(f"{what} was not reached: {self.body['status']}; {self._states(1)}")

    async def _step(self) -> None:
        before = self.world.now
        await self.world.step(self.kind)
        self.sent_at += [before] * (len(self.world.provider.posts) - len(self.sent_at))

    def _states(self, attempt: int) -> set[str]:
        found = self.world.database["ledger"].find()
        mine = (each for each in found if each["_id"].split("/")[1] == self.kind)
        return {str(each["state"]) for each in mine if each["_id"].endswith(f"/{attempt}")}

    @property
    def body(self) -> Body:
        """The resource."""
        found: Body = self.world.kube.resources[self.kind, "it"]
        return found

    # Transfer of the world to the next process

    def dump(self) -> Body:
        """Persistent state as JSON."""
        world, provider = self.world, self.world.provider
        names = world.database.list_collection_names()
        collections = {name: list(world.database[name].find()) for name in names}
        return {
            "now": world.now.isoformat(),
            "flags": self.flags,
            "resources": [[kind.value, name, body] for (kind, name), body in world.kube.resources.items()],
            "jobs": world.kube.jobs,
            "objects": {key: _tagged(value) for key, value in world.storage.objects.items()},
            "posts": [each.model_dump(mode="json") for each in provider.posts],
            "sentAt": [each.isoformat() for each in self.sent_at],
            "cancelled": provider.cancelled,
            "fails": sorted(provider.fails),
            "loseReplies": sorted(provider.lose_replies),
            "polls": provider._polls,
            "looks": provider._looks,
            "collections": json.loads(json_util.dumps(collections)),
        }

    def _load(self, saved: Body) -> None:
        world, provider = self.world, self.world.provider
        world.now = _time(saved["now"])
        self.flags = saved["flags"]
        world.kube.resources = {(Kind(kind), name): _pruned(body) for kind, name, body in saved["resources"]}
        newest = max((int(each["metadata"]["resourceVersion"]) for _, _, each in saved["resources"]), default=0)
        world.kube._version = itertools.count(newest + _VERSIONS_APART)
        world.kube.jobs = saved["jobs"]
        world.storage.objects = {key: _untagged(value) for key, value in saved["objects"].items()}
        provider.posts = [_call(each) for each in saved["posts"]]
        self.sent_at = [_time(each) for each in saved["sentAt"]]
        provider.sent_at = list(self.sent_at)
        provider.cancelled = saved["cancelled"]
        provider.fails, provider.lose_replies = set(saved["fails"]), set(saved["loseReplies"])
        provider._polls, provider._looks = saved["polls"], saved["looks"]
        for name, documents in json_util.loads(json.dumps(saved["collections"])).items():
            if documents:
                world.database[name].insert_many(documents)
        world.restart()


def merged(old: Body, patch: Body) -> Body:
    """A flat JSON merge patch."""
    return {name: value for name, value in (old | patch).items() if value is not None}


def _pruned(body: Body) -> Body:
    """The resource with the status that this release's CRD has: the API server drops other fields."""
    status = body["status"] and _status.dump_status(_status.ResourceStatus.model_validate(body["status"]))
    return body | {"status": status}


def _tagged(value: Any) -> Body:
    return {"stored": value.model_dump(mode="json")} if isinstance(value, _BucketFile) else {"value": value}


def _untagged(value: Body) -> Any:
    return _BucketFile.model_validate(value["stored"]) if "stored" in value else value["value"]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def main() -> None:
    """Process input lines. The argument is the folder that must contain the release's packages."""
    root = Path(sys.argv[1]).resolve()
    packages = Path(contentgen_operator.__file__).resolve()
    assert packages.is_relative_to(root), f"{packages} is not of {root}"
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(asked: Body) -> Body:
    with pytest.MonkeyPatch.context() as monkeypatch:
        driver = Driver(Kind(asked["kind"]), monkeypatch, asked["world"])
        try:
            asyncio.run(driver.do(asked["actions"]))
        except Exception:  # noqa: BLE001 - any exception is returned to the test
            return {"error": traceback.format_exc(), "world": driver.dump()}
        return {"world": driver.dump()}


if __name__ == "__main__":
    main()
