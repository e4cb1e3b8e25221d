"""Base models: `Value` for data between our own programs, `Manifest` for input that a person writes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from contentgen_contract import patterns

_CAMEL = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored, so that an older program reads messages of a newer one."""

    model_config = ConfigDict(**_CAMEL, serialize_by_alias=True, extra="ignore")


class Manifest(BaseModel):
    """A frozen part of a spec. Unknown fields are an error, as they are for the API server."""

    model_config = ConfigDict(**_CAMEL, serialize_by_alias=True, extra="forbid")


Sha256 = Annotated[str, StringConstraints(pattern=patterns.SHA256, max_length=64)]
"""A SHA-256 in lower-case hexadecimal."""
