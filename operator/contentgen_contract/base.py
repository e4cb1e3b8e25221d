"""The two kinds of model: `Value` between our own parts, `Manifest` for what a person writes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from contentgen_contract import patterns

_CAMEL = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)


class Value(BaseModel):
    """A frozen value; unknown fields are dropped, so that an older part reads a newer one's messages."""

    model_config = ConfigDict(**_CAMEL, serialize_by_alias=True, extra="ignore")


class Manifest(BaseModel):
    """A frozen part of a resource's spec; unknown fields are an error, as the API server treats them."""

    model_config = ConfigDict(**_CAMEL, serialize_by_alias=True, extra="forbid")


Sha256 = Annotated[str, StringConstraints(pattern=patterns.SHA256, max_length=64)]
"""A sha256 in lower-case hexadecimal."""
