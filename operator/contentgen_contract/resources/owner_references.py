"""Owner references: the controller of a Job or pod, and the reference from a Job to its resource. Pure.

References without a UID are skipped, and other parts that are no text are empty, because users of the namespace may
write references.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contentgen_contract.names import API_VERSION, GROUP, Kind


@dataclass(frozen=True, slots=True)
class ControllerRef:
    """An owner reference with `controller: true`."""

    api_version: str
    kind: str
    name: str
    uid: str

    @property
    def resource_kind(self) -> Kind | None:
        """The kind of our resources, in any version of the API group; None: another kind or group."""
        ours = self.api_version.startswith(f"{GROUP}/") and self.kind in list(Kind)
        return Kind(self.kind) if ours and self.name else None

    @property
    def is_job(self) -> bool:
        """True for a batch/v1 Job."""
        return (self.api_version, self.kind) == ("batch/v1", "Job")


def controllers(body: Mapping[str, Any]) -> Iterator[ControllerRef]:
    """The controllers of an object (JSON), in order; the API server admits one at most."""
    for reference in (body.get("metadata") or {}).get("ownerReferences") or ():
        if reference.get("controller") and isinstance(reference.get("uid"), str):
            yield ControllerRef(*(_text(reference.get(part)) for part in ("apiVersion", "kind", "name", "uid")))


def owner_reference(kind: Kind, name: str, uid: str) -> dict[str, Any]:
    """The reference from a Job to its resource (JSON)."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind.value,
        "name": name,
        "uid": uid,
        "controller": True,
        # True would require the right to update finalizers on some clusters.
        "blockOwnerDeletion": False,
    }


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""
