"""Selection: the resources that this installation works on.

Other resources are not queued and never written to. They still count as existing, since installations may share stores.
"""

from dataclasses import dataclass, field
from typing import Any

from contentgen_contract.resources.operator_class import DEFAULT_CLASS, class_of
from contentgen_runtime.namespaces import Namespaces


@dataclass(frozen=True, slots=True)
class Selection:
    """Filter by operator class and namespace; evaluated on each read, because a resource's class may change."""

    operator_class: str = DEFAULT_CLASS
    namespaces: Namespaces = field(default_factory=Namespaces)

    def serves(self, body: dict[str, Any]) -> bool:
        """True if this installation works on a resource (JSON)."""
        return class_of(body) == self.operator_class and _namespace_of(body) in self.namespaces

    def has_left(self, body: dict[str, Any]) -> bool:
        """True if a resource (JSON) is of our class, so nobody else's, in a namespace that is not selected."""
        outside = self.namespaces.known.is_set() and _namespace_of(body) not in self.namespaces
        return outside and class_of(body) == self.operator_class


def _namespace_of(body: dict[str, Any]) -> str:
    return str((body.get("metadata") or {}).get("namespace", ""))


DEFAULT = Selection()
"""Selection of the class `default` in all namespaces."""
