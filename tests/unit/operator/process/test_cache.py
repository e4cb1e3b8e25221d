"""Event handlers and cache: stored objects, detected changes, events that wake nothing."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from contentgen_contract.names import FINALIZER, Kind
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache, trimmed
from contentgen_operator.state.observed import JobView, ResourceRef, is_finished
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.lists import ResourceLists
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.namespaces import Namespaces

REF = ResourceRef(kind=Kind.IMAGE_GENERATION, namespace="ns", name="it", uid="u1")


def body(version: str = "1", **status: Any) -> dict[str, Any]:
    meta = {"namespace": "ns", "name": "it", "uid": "u1", "generation": 2, "resourceVersion": version}
    return {"metadata": meta | {"managedFields": ["much"]}, "spec": {"prompt": "x"}, "status": status}


END: dict[str, Any] = {
    "phase": "Completed",
    "observedGeneration": 2,
    "completionTime": "2026-11-21T00:00:00Z",
    "conditions": [{"type": "Complete", "status": "True"}, {"type": "Failed", "status": "False"}],
    "run": {"rerun": None, "version": 1},
    "versions": [{"version": 1}],
}
FAILED = END | {
    "phase": "Failed",
    "reason": "NoVideo",
    "conditions": [{"type": "Complete", "status": "False"}, {"type": "Failed", "status": "True"}],
    "run": {"version": 2},
}


def done(**changes: Any) -> dict[str, Any]:
    return body(**END) | changes


def with_meta(given: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return given | {"metadata": given["metadata"] | meta}


def job(*, finished: bool = False) -> dict[str, Any]:
    owner = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "name": "it", "uid": "u1"}
    meta = {"namespace": "ns", "name": "job", "uid": "j1", "creationTimestamp": "2026-11-21T00:00:00Z"}
    conditions = [{"type": "Complete", "status": "True"}] if finished else []
    return {
        "metadata": meta | {"ownerReferences": [owner | {"controller": True}]},
        "status": {"conditions": conditions},
    }


@pytest.mark.parametrize(
    ("given", "finished"),
    [
        (done(), True),
        (done(status=FAILED), True),
        (body(), False),
        (body(phase="Processing", observedGeneration=2), False),
        (done(status=END | {"observedGeneration": 1}), False),
        (done(status=FAILED | {"reason": "InvalidSpec"}), True),
        (done(status=FAILED | {"reason": "InvalidSpec", "completionTime": None}), False),  # of an edit
        (done(status=END | {"phase": "Failed"}), False),  # these four belong to others
        (done(status=END | {"run": None}), False),
        (done(status=FAILED | {"phase": "Completed"}), False),
        (done(status={"phase": "Failed", "observedGeneration": 2, "run": {}}), False),
        (with_meta(done(), annotations={"contentgen.dev/rerun": "1"}), False),
        (with_meta(done(), annotations={"another": "1"}), True),
        (with_meta(done(), deletionTimestamp="2026-11-21T00:00:00Z"), False),
        (with_meta(done(), finalizers=[FINALIZER]), False),
        (with_meta(done(), finalizers=["another"]), True),
        (with_meta(done(spec={"deletionPolicy": "Delete"}), finalizers=[FINALIZER]), True),
        (done(spec={"deletionPolicy": "Delete"}), False),
    ],
)
def test_finished_resources(given: dict[str, Any], finished: bool) -> None:
    assert is_finished(given) is finished


def test_our_own_writes_are_no_news() -> None:
    cache = Cache()
    assert cache.note(REF, body("1"))
    assert not cache.note(REF, body("1"))
    assert cache.note(REF, body("2"))
    kept = cache.resource(REF)
    assert kept is not None
    assert "managedFields" not in kept["metadata"]


def test_old_entry_is_read_again() -> None:
    now = [0.0]
    cache = Cache(clock=lambda: now[0])
    cache.note(REF, body())
    cache.note_job(REF, JobView.parse(job()))
    now[0] = 54
    assert cache.job("ns", "job") is not None
    now[0] = 56
    assert cache.job("ns", "job") is None, "its end may have been missed"
    assert cache.resource(REF) is not None
    now[0] = 301
    assert cache.resource(REF) is None
    cache.note_job(REF, JobView.parse(job(finished=True)))
    now[0] = 9999
    assert cache.job("ns", "job") is not None, "an end stays one"


def test_finished_entry_is_removed() -> None:
    cache = Cache()
    cache.note(REF, body())
    cache.note_job(REF, JobView.parse(job()))
    cache.forget(REF)
    assert (cache.resource(REF), cache.job("ns", "job"), REF in cache) == (None, None, False)
    assert not vars(cache)["_jobs"]
    assert not vars(cache)["_jobs_of"]


class Woken:
    """Event handlers, and the resources that they woke."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.reports = Reports()
        self.handlers = EventHandlers(Cache(), self._wake, self.reports)

    async def _wake(self, ref: ResourceRef) -> None:
        self.names.append(ref.name)

    async def sees(self, kind: Kind, given: dict[str, Any], *, deleted: bool = False) -> list[str]:
        self.names.clear()
        await self.handlers.resource(kind, given, deleted=deleted)
        return list(self.names)

    async def sees_job(self, given: dict[str, Any], *, deleted: bool = False) -> list[str]:
        self.names.clear()
        await self.handlers.job(given, deleted=deleted)
        return list(self.names)


async def test_resources_that_an_event_wakes() -> None:
    woken, kind = Woken(), Kind.IMAGE_GENERATION
    assert await woken.sees_job(job(finished=True)) == [], "of a resource that is not there"
    assert await woken.sees(kind, done()) == [], "finished long ago"
    assert await woken.sees(kind, body("1")) == ["it"]
    assert await woken.sees(kind, body("1")) == []
    assert await woken.sees_job(job()) == [], "a pod has started"
    assert await woken.sees_job(job(finished=True)) == ["it"]
    assert await woken.sees_job(job(finished=True)) == []
    assert await woken.sees_job(job(finished=True), deleted=True) == ["it"]
    assert await woken.sees(kind, done(), deleted=True) == ["it"]


@pytest.mark.parametrize("end", [{"deleted": True}, {"finished": True}])
async def test_workers_report_is_forgotten_with_its_job(end: dict[str, bool]) -> None:
    """Also if the resource has another Job, or is gone."""
    woken = Woken()
    uid = job()["metadata"]["uid"]
    woken.reports.note_finished(uid)
    woken.reports.note_finished("another")
    await woken.sees_job(job())
    assert len(woken.reports) == 2
    await woken.sees_job(job(finished=end.get("finished", False)), deleted=end.get("deleted", False))
    assert len(woken.reports) == 1


async def test_lora_wakes_its_images_when_created_and_finished() -> None:
    woken = Woken()
    loras = [{"loraRef": {"name": "face"}}, {"path": "https://x"}]
    user = body() | {"spec": {"loras": loras}, "status": {}}
    await woken.sees(Kind.IMAGE_GENERATION, user)

    def lora(name: str, given: dict[str, Any]) -> dict[str, Any]:
        return with_meta(given, name=name, uid=name)

    assert await woken.sees(Kind.LORA_TRAINING, lora("face", body(phase=None))) == ["it", "face"], "no longer missing"
    preparing = lora("face", body(phase="Preparing"))
    assert await woken.sees(Kind.LORA_TRAINING, with_meta(preparing, resourceVersion="9")) == ["face"]
    assert await woken.sees(Kind.LORA_TRAINING, lora("other", done())) == []
    assert await woken.sees(Kind.LORA_TRAINING, lora("face", done())) == ["it"]
    await woken.sees(Kind.IMAGE_GENERATION, user, deleted=True)
    assert await woken.sees(Kind.LORA_TRAINING, lora("face", done())) == []
    assert not vars(vars(woken.handlers)["_dependents"])["_users"]


class Lists:
    """API server with one unfinished resource of each kind; unavailable for the last kind."""

    async def unfinished(self, kind: Kind, _: str) -> AsyncIterator[dict[str, Any]]:
        if kind is Kind.TRANSCRIPTION:
            raise TimeoutError
        yield body(phase="Pending")


async def test_first_listing_wakes_waiting_resources_despite_an_error() -> None:
    woken: list[ResourceRef] = []

    async def wake(ref: ResourceRef) -> None:
        woken.append(ref)

    cache = Cache()
    handlers = EventHandlers(cache, wake, Reports())
    await ResourceLists(cast("Kube", Lists()), Namespaces(), WatchLiveness(), handlers).list_unfinished()
    assert [ref.kind for ref in woken] == [Kind.LORA_TRAINING, Kind.IMAGE_GENERATION]
    assert all(cache.resource(ref) is not None for ref in woken)


def test_annotations_of_others_are_not_kept() -> None:
    """A tenant may write 256 KiB of annotations on each of thousands of resources."""
    theirs = {"x": "y" * 1000, "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    ours = {"contentgen.dev/rerun": "1"}
    body = {"metadata": {"name": "a", "annotations": theirs | ours, "managedFields": [{}]}}
    assert trimmed(body) == {"metadata": {"name": "a", "annotations": ours}}


def test_of_the_labels_only_ours_is_kept() -> None:
    labels = {"contentgen.dev/given-up": "true", "team": "a"}
    assert trimmed({"metadata": {"labels": labels}})["metadata"]["labels"] == {"contentgen.dev/given-up": "true"}
