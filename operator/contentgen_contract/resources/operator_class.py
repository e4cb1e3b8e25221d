"""Operator classes: each resource belongs to one, and each installation serves one. Pure."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from contentgen_contract import patterns
from contentgen_contract.base import Manifest
from contentgen_contract.names import GROUP

DEFAULT_CLASS = "default"
CLASS_KIND, CLASS_PLURAL = "OperatorClass", "operatorclasses"
CLASS_LABEL = f"{GROUP}/operator-class"
"""Label of a Job: the class of its operator. It is no proof of origin; the right `serve` on the class is."""


class ClassOwner(Manifest):
    """The installation that serves a class."""

    namespace: Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=63)] = Field(
        description="Namespace of the operator."
    )
    service_account: Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=253)] = Field(
        description="Service account of the operator. Only it may write the status of resources of the class."
    )
    release: Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=63)] = Field(
        description="Name of the Helm release."
    )

    def __str__(self) -> str:
        return f"the release {self.release} in the namespace {self.namespace} (service account {self.service_account})"


class OperatorClassSpec(Manifest):
    """Owner of an operator class. The operator creates the object when it becomes the leader."""

    owner: ClassOwner = Field(description="The installation that serves the class; immutable.")


def owner_of(body: dict[str, Any]) -> ClassOwner | None:
    """Owner in an OperatorClass (JSON); None for an unreadable one, such as that of a newer release."""
    spec = body.get("spec")
    try:
        return ClassOwner.model_validate(spec.get("owner") if isinstance(spec, dict) else None)
    except ValidationError:
        return None


def class_of(body: dict[str, Any]) -> str:
    """Class of a resource (JSON), not validated."""
    return str((body.get("spec") or {}).get("operatorClass") or DEFAULT_CLASS)
