"""Parsing of forms and queries of pages: empty fields are left out."""

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ValidationError

from contentgen_gateway.schemas.refusals import refusal

Asked = TypeVar("Asked", bound=BaseModel)


def query_model(model: type[Asked], **fixed: object) -> Callable[[Request], Asked]:
    """FastAPI dependency that parses the query as a model; `fixed` overrides fields. Raises Problem 422."""
    known = {field.alias or name for name, field in model.model_fields.items()}

    def asked(request: Request) -> Asked:
        given = {key: value for key, value in request.query_params.items() if value.strip() and key in known}
        return validated(model, given | fixed)

    return asked


def validated(model: type[Asked], given: dict[str, object] | dict[str, str]) -> Asked:
    """Validated model. Raises Problem 422."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise refusal(error.errors(), "form", model) from None


def redirect(address: str) -> Response:
    """Redirect after a change, so that a reload does not repeat it."""
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)
