"""Operator classes: each resource belongs to one, and each installation serves one."""

from typing import Any

from contentgen_contract.names import Phase

DEFAULT_CLASS = "default"
ENDED = (Phase.COMPLETED, Phase.FAILED)
"""Phases in which a resource may move to another class."""


def class_of(body: dict[str, Any]) -> str:
    """The class of a resource, from its manifest; a text of any form where the manifest is not validated."""
    return str((body.get("spec") or {}).get("operatorClass") or DEFAULT_CLASS)
