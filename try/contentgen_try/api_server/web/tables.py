"""Tables of `kubectl get`. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from contentgen_try.api_server.schemas.resource_types import Column, ResourceType
from contentgen_try.api_server.storage.selectors import field

Body = dict[str, Any]
_NAME = {"name": "Name", "type": "string", "format": "name", "description": "Name of the object.", "priority": 0}


def table(kind: ResourceType, bodies: Iterable[Body], metadata: Body, *, include: str = "Metadata") -> Body:
    """Table of objects; `include` is None, Metadata or Object: what each row has of its object."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_NAME, *(_definition(column) for column in kind.columns or (_AGE,))],
        "rows": [_row(kind, body, include) for body in bodies],
    }


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


def _definition(column: Column) -> Body:
    shown = {"name": column.name, "type": column.type, "format": "", "priority": column.priority}
    return shown | {"description": column.description}


def _row(kind: ResourceType, body: Body, include: str) -> Body:
    cells = [body["metadata"]["name"], *(_cell(body, column) for column in kind.columns or (_AGE,))]
    row: Body = {"cells": cells}
    if include == "Object":
        row["object"] = body
    elif include != "None":
        row["object"] = partial(body)
    return row


def partial(body: Body) -> Body:
    """The object with its metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body["metadata"]}


def _cell(body: Body, column: Column) -> Any:
    value = field(body, column.path)
    if column.type == "date":
        return _age(value)
    if column.type in ("integer", "number"):
        return value
    return "" if value is None else value if isinstance(value, str) else str(value)


def _age(value: Any) -> str:  # noqa: PLR0911 - one per unit
    """Time since a timestamp in at most two units, as kubectl shows it."""
    try:
        seconds = int((datetime.now(UTC) - datetime.fromisoformat(str(value))).total_seconds())
    except (ValueError, TypeError):
        return "<unknown>"
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    match seconds:
        case _ if seconds < 120:
            return f"{seconds}s"
        case _ if minutes < 10:
            return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
        case _ if hours < 3:
            return f"{minutes}m"
        case _ if hours < 8:
            return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
        case _ if hours < 48:
            return f"{hours}h"
        case _ if days < 8:
            return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
        case _:
            return f"{days}d"
