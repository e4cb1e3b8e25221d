"""Writes to objects: create, replace, patch and delete, with the rules of the Kubernetes API server."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from contentgen_try.api_server.refusals import Refusal, already_exists, invalid, modified, not_found
from contentgen_try.api_server.schemas.resource_types import NAMESPACES, PODS, SERVICE_ACCOUNTS, Registry, ResourceType
from contentgen_try.api_server.schemas.rules import UNSET
from contentgen_try.api_server.schemas.structural import same
from contentgen_try.api_server.storage import defaults, metadata
from contentgen_try.api_server.storage.store import Store

Body = dict[str, Any]
_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"
_ATTEMPTS_OF_A_NAME = 8
_GONE_PHASES = ("Succeeded", "Failed")


class Place(NamedTuple):
    """Target of a request; `name` is empty for a collection, `namespace` for a cluster-scoped type."""

    kind: ResourceType
    namespace: str
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class How:
    """Options of a write."""

    dry_run: bool = False
    validation: str = "Warn"  # fieldValidation: Strict, Warn or Ignore


@dataclass(frozen=True, slots=True)
class Deletion:
    """Options of a deletion."""

    propagation: str = "Background"  # Foreground, Background or Orphan
    grace: int | None = None  # seconds, of pods
    uid: str | None = None
    version: str | None = None


class Written(NamedTuple):
    """Object after a write, and warnings for the client."""

    body: Body
    warnings: tuple[str, ...] = ()
    created: bool = False


class Objects:
    """Write rules over a Store."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self._registry = registry

    # --- create

    def create(self, place: Place, given: Body, how: How) -> Written:
        """Create an object. Raises Refusal."""
        kind = place.kind
        own, unknown = metadata.cleaned(given.get("metadata"))
        self._require_namespace(place)
        for _ in range(_ATTEMPTS_OF_A_NAME):
            meta = metadata.of_new(kind, place.namespace, own)
            if own.get("name") or self.store.find(kind, place.namespace, meta.get("name", "")) is None:
                break
        if kind.schema is None:
            self._refuse_unless(kind, meta, metadata.problems(kind, meta))
        body, warnings = self._admitted(kind, {**given, "metadata": meta}, None, unknown, how)
        name = meta["name"]
        if self.store.find(kind, place.namespace, name) is not None:
            raise already_exists(kind.resource, name)
        if how.dry_run:
            return Written(body, warnings, created=True)
        stored = self.store.put(kind, body)
        if kind is NAMESPACES:
            self._furnish(name)
        self._collect_if_orphaned(kind, stored)
        return Written(stored, warnings, created=True)

    def _require_namespace(self, place: Place) -> None:
        if not place.kind.namespaced:
            return
        found = self.store.find(NAMESPACES, "", place.namespace)
        if found is None:
            raise not_found("namespaces", place.namespace)
        if "deletionTimestamp" in found["metadata"]:
            raise Refusal(403, f"unable to create new content in namespace {place.namespace} because it is being "
                               "terminated", details={"causes": [{"reason": "NamespaceTerminating"}]})  # fmt: skip

    def _furnish(self, namespace: str) -> None:
        """The service account that each namespace has."""
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        if self.store.find(SERVICE_ACCOUNTS, namespace, "default") is None:
            self.create(Place(SERVICE_ACCOUNTS, namespace), body, How())

    def ensure(self, kind: ResourceType, namespace: str, name: str) -> None:
        """Create an empty object, unless it exists."""
        if self.store.find(kind, namespace, name) is None:
            body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}}
            self.create(Place(kind, namespace), body, How())

    def furnish_all(self) -> None:
        """Create the default service account in each namespace."""
        for namespace in self.store.all(NAMESPACES):
            if "deletionTimestamp" not in namespace["metadata"]:
                self._furnish(namespace["metadata"]["name"])

    # --- update

    def change(
        self, place: Place, given: Callable[[Body], Body], how: How, *, must_name_version: bool = False
    ) -> Written:
        """Replace an object by what `given` makes of it. Raises Refusal.

        With the subresource `status` only the status changes, without it everything else.
        """
        kind = place.kind
        old = self.store.get(kind, place.namespace, place.name)
        new = given(old)
        own, _ = metadata.cleaned(new.get("metadata"))
        self._check_preconditions(place, old, own, must_name_version=must_name_version)
        body, warnings = self._changed_body(place, old, new, how)
        if same(body, old):
            return Written(old, warnings)
        if kind.generations and _content(body) != _content(old):
            body["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        if how.dry_run:
            return Written(body, warnings)
        if self._is_gone(kind, body):
            return Written(self._removed(kind, body), warnings)
        stored = self.store.put(kind, body)
        return Written(stored, warnings)

    def _check_preconditions(self, place: Place, old: Body, own: Body, *, must_name_version: bool) -> None:
        kind, meta = place.kind, old["metadata"]
        for part, given in (("name", place.name), ("namespace", place.namespace)):
            if own.get(part, given) != given:
                raise Refusal(
                    400, f"the {part} of the object ({own[part]}) does not match the {part} on the URL ({given})"
                )
        version = own.get("resourceVersion")
        if must_name_version and not version and kind.schema is not None:
            detail = "Invalid value: 0: must be specified for an update"
            raise Refusal(422, f'{kind.qualified_kind} "{place.name}" is invalid: metadata.resourceVersion: {detail}')
        if own.get("uid", meta["uid"]) != meta["uid"]:
            raise modified(kind.resource, place.name, f"Precondition failed: UID in precondition: {own['uid']}, UID in "
                                                      f"object meta: {meta['uid']}")  # fmt: skip
        if version and version != meta["resourceVersion"]:
            raise modified(kind.resource, place.name)

    def _changed_body(self, place: Place, old: Body, new: Body, how: How) -> tuple[Body, tuple[str, ...]]:
        own, unknown = metadata.cleaned(new.get("metadata"))
        kind = place.kind
        if place.subresource == "status":
            kept = {name: value for name, value in old.items() if name != "status"}
            body = kept | ({"status": new["status"]} if "status" in new else {})
            return self._admitted(kind, body, old, unknown, how)
        meta = metadata.of_changed(kind, old["metadata"], own)
        self._refuse_unless(kind, meta, metadata.problems(kind, meta))
        body = {**new, "metadata": meta}
        if kind.has_status:
            body.pop("status", None)
            body |= {"status": old["status"]} if "status" in old else {}
        return self._admitted(kind, body, old, unknown, how)

    def _admitted(
        self, kind: ResourceType, body: Body, old: Body | None, unknown: list[str], how: How
    ) -> tuple[Body, tuple[str, ...]]:
        """The object as it is stored: pruned, with defaults, validated. Raises Refusal."""
        if body.get("apiVersion", kind.api_version) != kind.api_version or body.get("kind", kind.kind) != kind.kind:
            raise Refusal(400, f"{body.get('apiVersion')}, Kind={body.get('kind')} does not match {kind.api_version}, "
                               f"Kind={kind.kind}")  # fmt: skip
        whole: Body = {"apiVersion": kind.api_version, "kind": kind.kind, **copy.deepcopy(body)}
        if kind.schema is None:
            self._refuse_unless(kind, whole["metadata"], defaults.problems(kind, whole))
            whole = defaults.with_defaults(kind, whole) if old is None else defaults.normalized(kind, whole)
            return whole, self._warnings(kind, unknown, how)
        if old is None and kind.has_status:
            whole.pop("status", None)
        warnings = self._warnings(kind, unknown + kind.schema.prune(whole), how)
        kind.schema.set_defaults(whole)
        own = [] if old is not None else metadata.problems(kind, whole["metadata"])
        self._refuse_unless(kind, whole["metadata"], own + kind.schema.problems(whole, UNSET if old is None else old))
        return whole, warnings

    @staticmethod
    def _warnings(kind: ResourceType, unknown: list[str], how: How) -> tuple[str, ...]:
        if unknown and how.validation == "Strict":
            fields = ", ".join(f'unknown field "{each}"' for each in unknown)
            raise Refusal(400, f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                               f"strict decoding error: {fields}")  # fmt: skip
        return tuple(f'unknown field "{each}"' for each in unknown) if how.validation == "Warn" else ()

    @staticmethod
    def _refuse_unless(kind: ResourceType, meta: Body, problems: list[Any]) -> None:
        if problems:
            raise invalid(kind.qualified_kind, str(meta.get("name") or ""), problems)

    # --- delete

    def delete(self, place: Place, how: Deletion, *, dry_run: bool = False) -> tuple[Body, bool]:
        """Delete an object; returns its last state, and whether it is gone: finalizers and running pods delay that.

        Raises Refusal.
        """
        kind = place.kind
        old = self.store.get(kind, place.namespace, place.name)
        meta = old["metadata"]
        if how.uid not in (None, meta["uid"]):
            raise modified(kind.resource, place.name, f"Precondition failed: UID in precondition: {how.uid}, UID in "
                                                      f"object meta: {meta['uid']}")  # fmt: skip
        if how.version not in (None, meta["resourceVersion"]):
            raise modified(kind.resource, place.name, "Precondition failed: the resourceVersion does not match")
        body = self._marked(kind, old, how)
        if dry_run:
            return body, self._is_gone(kind, body)
        if self._is_gone(kind, body):
            return self._removed(kind, body), True
        stored = body if body == old else self.store.put(kind, body)
        if kind is NAMESPACES:
            self._empty(place.name)
            self._finish_namespace(place.name)
        self._proceed(kind, stored)
        left = self.store.find(kind, place.namespace, place.name)
        return left or stored, left is None

    def _marked(self, kind: ResourceType, old: Body, how: Deletion) -> Body:
        """The object with what marks it as being deleted; a second deletion may shorten a pod's grace period."""
        meta = dict(old["metadata"])
        grace = _grace(kind, old, how.grace)
        finalizers = list(meta.get("finalizers") or ())
        wanted = {"Foreground": _FOREGROUND, "Orphan": _ORPHAN}.get(how.propagation)
        if wanted is not None and wanted not in finalizers:
            finalizers.append(wanted)
            meta["finalizers"] = finalizers
        if "deletionTimestamp" not in meta:
            at = datetime.now(UTC) + timedelta(seconds=grace)
            meta |= {"deletionTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "deletionGracePeriodSeconds": grace}
            if "generation" in meta:
                meta["generation"] += 1
        elif grace < meta.get("deletionGracePeriodSeconds", 0):
            meta["deletionGracePeriodSeconds"] = grace
        body = {**old, "metadata": meta}
        if kind is NAMESPACES:
            body["status"] = {"phase": "Terminating"}
        return body

    def _is_gone(self, kind: ResourceType, body: Body) -> bool:
        meta = body["metadata"]
        if "deletionTimestamp" not in meta or meta.get("finalizers"):
            return False
        if kind is NAMESPACES:
            return not self._content_of(meta["name"])
        return kind is not PODS or not meta.get("deletionGracePeriodSeconds")

    def _removed(self, kind: ResourceType, body: Body) -> Body:
        """Remove an object, then its dependents in the background."""
        last = self.store.remove(kind, body)
        uid = last["metadata"]["uid"]
        for other, dependent in list(self.store.every()):
            if any(owner["uid"] == uid for owner in dependent["metadata"].get("ownerReferences") or ()):
                self._collect_if_orphaned(other, dependent)
        self._proceed_with_owners(last)
        if namespace := last["metadata"].get("namespace"):
            self._finish_namespace(namespace)
        return last

    def _collect_if_orphaned(self, kind: ResourceType, body: Body) -> None:
        """Delete an object if it has owners and none of them exists."""
        owners = body["metadata"].get("ownerReferences") or ()
        current = self._current(kind, body)
        if owners and current is not None and not any(self._owner_exists(body, owner) for owner in owners):
            self.delete(_place(kind, current), Deletion())

    def _owner_exists(self, body: Body, owner: Body) -> bool:
        kind = self._registry.of_kind(owner["apiVersion"], owner["kind"])
        if kind is None:
            return True  # of a type that this server does not know: nothing is deleted on a guess
        namespace = body["metadata"].get("namespace", "") if kind.namespaced else ""
        found = self.store.find(kind, namespace, owner["name"])
        return found is not None and found["metadata"]["uid"] == owner["uid"]

    def _current(self, kind: ResourceType, body: Body) -> Body | None:
        """The stored object of the same uid; None if it is gone."""
        meta = body["metadata"]
        found = self.store.find(kind, meta.get("namespace", ""), meta["name"])
        return found if found is not None and found["metadata"]["uid"] == meta["uid"] else None

    def _dependents(self, uid: str) -> list[tuple[ResourceType, Body, Body]]:
        """Dependents of an object, each with its owner reference."""
        return [
            (kind, body, owner)
            for kind, body in self.store.every()
            for owner in body["metadata"].get("ownerReferences") or ()
            if owner["uid"] == uid
        ]

    def _proceed(self, kind: ResourceType, body: Body) -> None:
        """Work off the garbage collector's finalizers of an object that is being deleted."""
        current = self._current(kind, body)
        finalizers = (current or body)["metadata"].get("finalizers") or ()
        if current is None or "deletionTimestamp" not in current["metadata"]:
            return
        uid = current["metadata"]["uid"]
        if _ORPHAN in finalizers:
            for other, dependent, _ in self._dependents(uid):
                self._release(other, dependent, uid)
            self._drop_finalizer(kind, current, _ORPHAN)
        elif _FOREGROUND in finalizers:
            for other, dependent, _ in self._dependents(uid):
                if "deletionTimestamp" not in dependent["metadata"]:
                    self.delete(_place(other, dependent), Deletion("Foreground"))
            still = self._current(kind, current)
            if still is not None and not any(owner.get("blockOwnerDeletion") for _, _, owner in self._dependents(uid)):
                self._drop_finalizer(kind, still, _FOREGROUND)

    def _release(self, kind: ResourceType, body: Body, uid: str) -> None:
        current = self._current(kind, body)
        if current is not None:
            owners = [reference for reference in current["metadata"]["ownerReferences"] if reference["uid"] != uid]
            self.store.put(kind, {**current, "metadata": {**current["metadata"], "ownerReferences": owners}})

    def _drop_finalizer(self, kind: ResourceType, body: Body, finalizer: str) -> None:
        kept = [
            each_finalizer for each_finalizer in body["metadata"].get("finalizers") or () if each_finalizer != finalizer
        ]
        meta = {name: value for name, value in body["metadata"].items() if name != "finalizers"}
        changed = {**body, "metadata": meta | ({"finalizers": kept} if kept else {})}
        if self._is_gone(kind, changed):
            self._removed(kind, changed)
        else:
            self.store.put(kind, changed)

    def _proceed_with_owners(self, body: Body) -> None:
        """Continue the foreground deletion of the owners of a removed object."""
        for owner in body["metadata"].get("ownerReferences") or ():
            kind = self._registry.of_kind(owner["apiVersion"], owner["kind"])
            if kind is None:
                continue
            namespace = body["metadata"].get("namespace", "") if kind.namespaced else ""
            found = self.store.find(kind, namespace, owner["name"])
            if found is not None and found["metadata"]["uid"] == owner["uid"]:
                self._proceed(kind, found)

    # --- namespaces

    def _content_of(self, namespace: str) -> list[tuple[ResourceType, Body]]:
        return [each for each in self.store.every() if each[1]["metadata"].get("namespace") == namespace]

    def _empty(self, namespace: str) -> None:
        for kind, body in self._content_of(namespace):
            current = self._current(kind, body)
            if current is not None:
                self.delete(_place(kind, current), Deletion())

    def _finish_namespace(self, name: str) -> None:
        """Remove a namespace that is being deleted once it is empty."""
        found = self.store.find(NAMESPACES, "", name)
        if found is not None and self._is_gone(NAMESPACES, found):
            self.store.remove(NAMESPACES, found)

    def collect(self) -> None:
        """Finish deletions that the previous process began."""
        for kind, body in list(self.store.every()):
            self._collect_if_orphaned(kind, body)
        for namespace in self.store.all(NAMESPACES):
            if "deletionTimestamp" in namespace["metadata"]:
                self._empty(namespace["metadata"]["name"])
                self._finish_namespace(namespace["metadata"]["name"])


def _place(kind: ResourceType, body: Body) -> Place:
    return Place(kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])


def _content(body: Body) -> Body:
    """Fields whose changes increment `metadata.generation`."""
    return {name: value for name, value in body.items() if name not in ("metadata", "status")}


def _grace(kind: ResourceType, body: Body, wanted: int | None) -> int:
    """Grace period of a deletion in seconds: 0 unless it is a pod that may run."""
    spec = body.get("spec") or {}
    ended = (body.get("status") or {}).get("phase") in _GONE_PHASES
    if kind is not PODS or not spec.get("nodeName") or ended:
        return 0
    return int(spec.get("terminationGracePeriodSeconds", 30) if wanted is None else max(wanted, 0))
