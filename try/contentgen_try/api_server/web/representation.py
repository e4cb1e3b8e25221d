"""Representations that a client asks for in `Accept`: objects, tables, or metadata alone. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contentgen_try.api_server.schemas.resource_types import ResourceType
from contentgen_try.api_server.web.tables import partial, table

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Representation:
    """`form` is empty for whole objects, else Table or PartialObjectMetadata."""

    form: str = ""
    include: str = "Metadata"

    def of_object(self, kind: ResourceType, body: Body) -> Body:
        """One object."""
        if self.form == "Table":
            version = {"resourceVersion": body["metadata"].get("resourceVersion", "")}
            return table(kind, [body], version, include=self.include)
        return partial(body) if self.form else body

    def of_list(self, kind: ResourceType, bodies: Sequence[Body], metadata: Body) -> Body:
        """A list of objects."""
        if self.form == "Table":
            return table(kind, bodies, metadata, include=self.include)
        if self.form:
            about = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return {**about, "metadata": metadata, "items": [partial(body) for body in bodies]}
        about = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version}
        return {**about, "metadata": metadata, "items": list(bodies)}


def representation(accept: str, include: str = "") -> Representation:
    """The first representation of an `Accept` header that this server has."""
    for text in accept.split(","):
        media, *parameters = (part.strip() for part in text.split(";"))
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        form = given.get("as", "")
        if media not in ("application/json", "*/*", "application/*", ""):
            continue
        if form.startswith("Table"):
            return Representation("Table", include or "Metadata")
        if form.startswith("PartialObjectMetadata"):
            return Representation("PartialObjectMetadata")
        if not form:
            break
    return Representation()
