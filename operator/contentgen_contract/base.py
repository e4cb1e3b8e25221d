"""Base models: `Value` for data between our own programs, `Manifest` for input that a person writes."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from contentgen_contract import patterns

_CAMEL = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored, so that an older program reads messages of a newer one."""

    model_config = ConfigDict(**_CAMEL, serialize_by_alias=True, extra="ignore")


class Manifest(BaseModel):
    """A frozen part of a spec. Unknown fields are an error, as they are for the API server."""

    model_config = ConfigDict(**_CAMEL, serialize_by_alias=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, given: Any, info: ValidationInfo) -> Any:
        """A boolean is no number, as for the API server; pydantic would take `true` for 1."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(given, bool) and field is not None and _is_number(field.annotation):
            raise PydanticCustomError("int_type", "Input should be a valid number")
        return given


def _is_number(annotation: Any) -> bool:
    """True for a number, also an optional one."""
    members = get_args(annotation) or (annotation,)
    return any(member in (int, float) for member in members) and bool not in members


Sha256 = Annotated[str, StringConstraints(pattern=patterns.SHA256, max_length=64)]
"""A SHA-256 in lower-case hexadecimal."""
