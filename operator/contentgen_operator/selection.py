"""Selection: the resources that this installation works on.

All others stay out of the queue and are never written to. They still count as existing: installations may share stores.
"""

from dataclasses import dataclass
from typing import Any

from contentgen_contract.operator_class import DEFAULT_CLASS, class_of


@dataclass(frozen=True, slots=True)
class Selection:
    """By the manifest as the API server has it now: a resource may move between two reads."""

    operator_class: str = DEFAULT_CLASS

    def serves(self, body: dict[str, Any]) -> bool:
        """Whether a resource (JSON) is worked on."""
        return class_of(body) == self.operator_class


DEFAULT = Selection()
"""Of the class `default`, in all namespaces."""
