"""The API server: several namespaces, optimistic locking, finalizers, garbage collection, snapshots of etcd."""

# ruff: noqa: ARG002 - the methods have the signatures of what they stand for
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, TypeVar

from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.world import FakeKube

T = TypeVar("T")
Body = dict[str, Any]
Snapshot = tuple[dict[tuple[Kind, str], Body], dict[str, Body]]


def copied(value: T) -> T:
    """A deep copy of what JSON can say. copy.deepcopy took a sixth of the campaign's time."""
    made: T = _copied(value)
    return made


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


async def _done(_: str, call: Any) -> Any:
    return await call()


class RehearsalCluster(FakeKube):
    """`resources` are keyed by kind and `namespace/name`; `changed` and `started` are told of what happens."""

    def __init__(
        self,
        now: Callable[[], datetime],
        changed: Callable[[ResourceRef], None],
        started: Callable[[Body], None],
        told: Callable[[ResourceRef, Body, Body], None],
    ) -> None:
        writes: Any = _done
        super().__init__(writes)
        self._now = now
        self._tell = changed
        self._started = started
        self._told = told
        self.namespaces: dict[str, tuple[str, str]] = {}  # uid and creation time by name, kube-system included

    def put(self, ref: ResourceRef, spec: Body, annotations: dict[str, str]) -> None:
        """Create a resource, or change the one of this uid."""
        key = (ref.kind, f"{ref.namespace}/{ref.name}")
        before = self.resources.get(key)
        keep = before if before is not None and before["metadata"]["uid"] == ref.uid else None
        meta: Body = {
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": ref.uid,
            "generation": (keep["metadata"]["generation"] + (keep["spec"] != spec)) if keep else 1,
            "resourceVersion": str(next(self._version)),
            "creationTimestamp": keep["metadata"]["creationTimestamp"] if keep else self._stamp(),
            "annotations": annotations,
            "finalizers": keep["metadata"]["finalizers"] if keep else [],
        }
        if keep and "deletionTimestamp" in keep["metadata"]:
            meta["deletionTimestamp"] = keep["metadata"]["deletionTimestamp"]
        self.resources[key] = {"metadata": meta, "spec": spec, "status": keep["status"] if keep else {}}
        self._tell(ref)

    def find(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """The resource as it is, or None."""
        return self.resources.get((kind, f"{namespace}/{name}"))

    def remove(self, ref: ResourceRef) -> None:
        """A person's deletion."""
        key = (ref.kind, f"{ref.namespace}/{ref.name}")
        meta = self.resources[key]["metadata"]
        if not meta["finalizers"]:
            self._gone(key, ref)
        elif "deletionTimestamp" not in meta:
            meta |= {"deletionTimestamp": self._stamp(), "resourceVersion": str(next(self._version))}
            self._tell(ref)

    def _gone(self, key: tuple[Kind, str], ref: ResourceRef) -> None:
        del self.resources[key]
        for name, job in list(self.jobs.items()):
            owner = owner_of(job)
            if owner is not None and owner.uid == ref.uid:
                del self.jobs[name]
        self._tell(ref)

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def snapshot(self) -> Snapshot:
        """What etcd holds."""
        return copied(self.resources), copied(self.jobs)

    def restore(self, snapshot: Snapshot) -> None:
        """An older etcd. Revisions go on from the newest, as `etcdutl snapshot restore --bump-revision` does it."""
        before = set(self.resources)
        self.resources, self.jobs = copied(snapshot[0]), copied(snapshot[1])
        for body in [*self.resources.values(), *self.jobs.values()]:
            body["metadata"]["resourceVersion"] = str(next(self._version))
        for key in before | set(self.resources):
            if (there := self.resources.get(key)) is not None:
                self._tell(ref_of(key[0], there))

    def create_namespace(self, name: str, uid: str) -> None:
        """A namespace, in place of an earlier one of its name."""
        self.namespaces[name] = (uid, self._stamp())

    def empty(self) -> None:
        """Another cluster in place of this one: nothing is deleted, it is just not there."""
        self.resources, self.jobs, self.namespaces = {}, {}, {}

    async def get_namespace(self, name: str) -> Body | None:
        uid, created = self.namespaces.get(name, ("", ""))
        return {"metadata": {"name": name, "uid": uid, "creationTimestamp": created}} if uid else None

    async def get_resource(self, kind: Kind, namespace: str, name: str, **_: Any) -> Body | None:
        return copied(self.find(kind, namespace, name))

    async def every(self, kind: Kind, namespace: str = "", asked: Any = None) -> AsyncIterator[Body]:
        for (kept, _), body in list(self.resources.items()):
            if kept is kind and namespace in ("", body["metadata"]["namespace"]):
                yield copied(body)

    async def put_status(self, kind: Kind, namespace: str, name: str, body: Body) -> Body:
        key, version, status = (kind, f"{namespace}/{name}"), body["metadata"]["resourceVersion"], body["status"]
        there = self.resources.get(key)
        if there is not None and (there["metadata"]["resourceVersion"], there["status"]) == (version, status):
            return copied(there)  # the API server makes no new version of what is the same
        kept = self._changed(*key, version)
        before, kept["status"] = kept["status"], json.loads(json.dumps(status))
        ref = ref_of(kind, kept)
        self._told(ref, before, kept["status"])
        self._tell(ref)
        return copied(kept)

    async def put_finalizers(self, kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]) -> Body:
        kept = self._changed(kind, f"{namespace}/{name}", version)
        kept["metadata"]["finalizers"] = finalizers
        result = copied(kept)
        if not finalizers and "deletionTimestamp" in kept["metadata"]:
            self._gone((kind, f"{namespace}/{name}"), ref_of(kind, kept))
        else:
            self._tell(ref_of(kind, kept))
        return result

    async def create_job(self, namespace: str, manifest: Body) -> Body | None:
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            return None
        job = copied(manifest)
        version = next(self._version)
        job["metadata"] |= {"uid": f"uid-{version}-of-{name}", "creationTimestamp": self._stamp()}
        self.jobs[name] = job
        self._started(job)
        return copied(job)

    async def check_job(self, namespace: str, manifest: Body) -> None:
        """Admitted, unless a fault refuses it."""

    async def post_event(self, ref: ResourceRef, notice: Any, now: datetime) -> None:
        self.events.append((notice.type, notice.reason))

    def status(self, kind: Kind, name: str = "it") -> ResourceStatus:  # pragma: no cover - a shorthand for tests
        """The status of `namespace/name`."""
        return ResourceStatus.model_validate(self.resources[kind, name]["status"])


def ref_of(kind: Kind, body: Body) -> ResourceRef:
    """How a resource is addressed."""
    meta = body["metadata"]
    return ResourceRef(kind=kind, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
