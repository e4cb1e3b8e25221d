"""Operator classes: each resource belongs to one, and each installation serves one."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from contentgen_contract import patterns
from contentgen_contract.base import Manifest
from contentgen_contract.names import GROUP

DEFAULT_CLASS = "default"
CLASS_KIND, CLASS_PLURAL = "OperatorClass", "operatorclasses"
CLASS_LABEL = f"{GROUP}/operator-class"
"""Of a Job: the class of the operator that made it. It proves nothing by itself; the verb `serve` on the class does."""


class ClassOwner(Manifest):
    """The installation that serves the class."""

    namespace: Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=63)] = Field(
        description="The operator's namespace."
    )
    service_account: Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=253)] = Field(
        description="The operator's service account. It alone writes the status of resources of the class."
    )
    release: Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=63)] = Field(
        description="The name of the Helm release."
    )

    def __str__(self) -> str:
        return f"the release {self.release} in the namespace {self.namespace} (service account {self.service_account})"


class OperatorClassSpec(Manifest):
    """Owner of an operator class: the installation that serves it. The operator creates the object once it leads."""

    owner: ClassOwner = Field(description="The installation that serves the class; immutable.")


def owner_of(body: dict[str, Any]) -> ClassOwner | None:
    """The owner that an OperatorClass (JSON) names; None where it cannot be read, such as one of a later release."""
    spec = body.get("spec")
    try:
        return ClassOwner.model_validate(spec.get("owner") if isinstance(spec, dict) else None)
    except ValidationError:
        return None


def class_of(body: dict[str, Any]) -> str:
    """The class of a resource, from its manifest; a text of any form where the manifest is not validated."""
    return str((body.get("spec") or {}).get("operatorClass") or DEFAULT_CLASS)
