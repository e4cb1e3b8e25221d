"""API server of a rehearsal: several namespaces, notifications of changes, and snapshots of etcd."""

# ruff: noqa: ARG002 - the methods have the signatures of the real ones
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.observed import ResourceRef
from contentgen_runtime.kube import Conflict
from contentgen_simulation.api_server import Body, copied
from contentgen_simulation.world import FakeKube

K = TypeVar("K")
Snapshot = tuple[dict[tuple[Kind, str], Body], dict[str, Body]]


def _copies(objects: dict[K, Body]) -> dict[K, Body]:
    return {key: copied(body) for key, body in objects.items()}


async def _done(_: str, call: Any) -> Any:
    return await call()


class RehearsalCluster(FakeKube):
    """`resources` are keyed by kind and `namespace/name`; `changed` and `started` are called after changes, `expired`
    after the operator deleted a resource."""

    def __init__(
        self,
        now: Callable[[], datetime],
        changed: Callable[[ResourceRef], None],
        started: Callable[[Body], None],
        status_changed: Callable[[ResourceRef, Body, Body], None],
        expired: Callable[[ResourceRef, Body], None],
    ) -> None:
        writes: Any = _done
        super().__init__(writes, lambda: now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        self._notify = changed
        self._started = started
        self._status_changed = status_changed
        self._expired = expired
        self.pods_of: Callable[[str], list[Body]] = lambda _job: []
        self.namespaces = {}  # uid and creation time by name, kube-system included

    def put(self, ref: ResourceRef, spec: Body, annotations: dict[str, str], labels: dict[str, str]) -> None:
        """Create a resource with these labels, or edit the one with this uid, whose labels stay."""
        metadata = {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid, "annotations": annotations}
        metadata["labels"] = labels
        self.store.apply(key_of(ref), metadata, spec)
        self._notify(ref)

    def find(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """Stored resource; None if it does not exist."""
        return self.resources.get((kind, f"{namespace}/{name}"))

    def remove(self, ref: ResourceRef) -> None:
        """Delete a resource as a user does."""
        marked = "deletionTimestamp" in self.resources[key_of(ref)]["metadata"]
        if not self.store.delete(key_of(ref)) and not marked:
            self._notify(ref)

    def _resource_deleted(self, key: tuple[Kind, str], body: Body) -> None:
        super()._resource_deleted(key, body)
        self._notify(ref_of(key[0], body))

    def snapshot(self) -> Snapshot:
        """Copy of etcd's contents."""
        return _copies(self.resources), _copies(self.jobs)

    def restore(self, snapshot: Snapshot) -> None:
        """Restore an older etcd with bumped revisions, like `etcdutl snapshot restore --bump-revision`."""
        before = set(self.resources)
        self.resources, self.jobs = _copies(snapshot[0]), _copies(snapshot[1])
        for body in [*self.resources.values(), *self.jobs.values()]:
            body["metadata"]["resourceVersion"] = self.server.next_version()
        for key in before | set(self.resources):
            if (there := self.resources.get(key)) is not None:
                self._notify(ref_of(key[0], there))

    def create_namespace(self, name: str, uid: str) -> None:
        """Create a namespace, replacing an earlier one of its name."""
        self.namespaces[name] = (uid, self.server.now())

    def empty(self) -> None:
        """Replace the cluster by an empty one, without deletion events."""
        self.resources, self.jobs, self.namespaces = {}, {}, {}

    async def get_resource(self, kind: Kind, namespace: str, name: str, **_: Any) -> Body | None:
        return copied(self.find(kind, namespace, name))

    async def put_status(self, kind: Kind, namespace: str, name: str, body: Body) -> Body:
        key, version, status = (kind, f"{namespace}/{name}"), body["metadata"]["resourceVersion"], body["status"]
        there = self.resources.get(key)
        if there is not None and (there["metadata"]["resourceVersion"], there["status"]) == (version, status):
            return copied(there)  # the API server makes no new version of what is the same
        kept = self._changed(*key, version)
        before, kept["status"] = kept["status"], copied(status)
        ref = ref_of(kind, kept)
        self._status_changed(ref, before, kept["status"])
        self._notify(ref)
        return copied(kept)

    async def put_finalizers(self, kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]) -> Body:
        key = (kind, f"{namespace}/{name}")
        self._changed(*key, version)
        result = self.store.finalize(key, finalizers)
        if key in self.resources:
            self._notify(ref_of(kind, result))
        return result

    async def put_label(self, ref: ResourceRef, version: str, name: str, value: str | None) -> Body:
        kept = self._changed(*key_of(ref), version)
        labels = kept["metadata"].setdefault("labels", {})
        labels.pop(name, None)
        labels |= {} if value is None else {name: value}
        self._notify(ref)
        return copied(kept)

    async def delete_resource(self, ref: ResourceRef, version: str, *, dry_run: bool = False) -> None:
        if dry_run:
            return
        body = copied(self.resources.get(key_of(ref)))
        try:
            gone = self.store.delete(key_of(ref), ref.uid, version=version)
        except ApiException as error:
            raise Conflict("changed or deleted in between") from error
        self._expired(ref, body or {})
        if not gone:
            self._notify(ref)

    async def create_job(self, namespace: str, manifest: Body) -> Body | None:
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            return None
        created = self._jobs.create(name, manifest, lambda version: f"uid-{version}-of-{name}")
        self._started(self.jobs[name])
        return created

    async def job_pods(self, namespace: str, job: str) -> list[Body]:
        return copied(self.pods_of(job))

    async def check_job(self, namespace: str, manifest: Body) -> None:
        """Admit the Job; faults are injected around the call."""

    async def post_event(self, ref: ResourceRef, notice: Any, now: datetime) -> None:
        self.events.append((notice.type, notice.reason))

    def status(self, kind: Kind, name: str = "it") -> ResourceStatus:  # pragma: no cover - a shorthand for tests
        """Status of `namespace/name`."""
        return ResourceStatus.model_validate(self.resources[kind, name]["status"])


def key_of(ref: ResourceRef) -> tuple[Kind, str]:
    """The key of a resource in this cluster."""
    return ref.kind, f"{ref.namespace}/{ref.name}"


def ref_of(kind: Kind, body: Body) -> ResourceRef:
    """Reference of a resource."""
    meta = body["metadata"]
    return ResourceRef(kind=kind, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
