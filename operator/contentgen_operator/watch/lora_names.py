"""Index of the LoraTrainings by loraName, filled by the watches: finds the older one of two with the same name."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Phase
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_operator.state.observed import Resource, ResourceRef

Body = dict[str, Any]
Key = tuple[str, str, str]  # namespace, user, loraName


class _Entry(Value):
    created_at: str
    ref: ResourceRef
    trains: bool  # True if it has trained or will train
    served: bool

    @property
    def age(self) -> tuple[str, str]:
        """Sort key: older first, then by uid within the same second."""
        return self.created_at, self.ref.uid


class LoraNames:
    """Names in use. A LoraTraining that failed without a version holds none: it is not trained again by itself."""

    def __init__(self, selection: Selection = DEFAULT) -> None:
        self._selection = selection
        self._keys: dict[str, Key] = {}  # by uid
        self._entries: defaultdict[Key, dict[str, _Entry]] = defaultdict(dict)

    def note(self, body: Body) -> tuple[ResourceRef, ...]:
        """Store a LoraTraining; returns the served ones that may continue because it released a name."""
        meta, status = body["metadata"], body.get("status") or {}
        name = meta["name"]
        ref = ResourceRef(kind=Kind.LORA_TRAINING, namespace=meta["namespace"], name=name, uid=meta["uid"])
        failed = status.get("phase") == Phase.FAILED and not status.get("versions")
        trains = not failed and "deletionTimestamp" not in meta
        served = self._selection.serves(body)
        entry = _Entry(created_at=str(meta.get("creationTimestamp", "")), ref=ref, trains=trains, served=served)
        before, key = self._keys.get(ref.uid), _key(ref.namespace, body.get("spec") or {})
        if before is not None and before != key:
            self.forget(ref.uid)
        self._keys[ref.uid] = key
        self._entries[key][ref.uid] = entry
        freed = before if before != key or not trains else None
        return self._with(freed, ref.uid)

    def forget(self, uid: str) -> tuple[ResourceRef, ...]:
        """Remove a deleted LoraTraining; returns the served ones that may continue."""
        key = self._keys.pop(uid, None)
        if key is None:
            return ()
        self._entries[key].pop(uid, None)
        if not self._entries[key]:
            del self._entries[key]
        return self._with(key, uid)

    def older(self, resource: Resource) -> str | None:
        """Name of the oldest other LoraTraining with the same loraName that is older than this one; None if there is
        none.
        """
        ref = resource.ref
        entries = self._entries.get(_key(ref.namespace, resource.spec), {})
        mine = f"{resource.created_at:%Y-%m-%dT%H:%M:%SZ}", ref.uid
        older = [entry for entry in entries.values() if entry.trains and entry.ref.uid != ref.uid and entry.age < mine]
        return min(older, key=lambda each: each.age).ref.name if older else None

    def _with(self, key: Key | None, uid: str) -> tuple[ResourceRef, ...]:
        entries: Iterable[_Entry] = self._entries.get(key, {}).values() if key is not None else ()
        return tuple(entry.ref for entry in entries if entry.served and entry.ref.uid != uid)


def _key(namespace: str, spec: dict[str, Any]) -> Key:
    return namespace, str(spec.get("userId") or namespace), str(spec.get("loraName"))
