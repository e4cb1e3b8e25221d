"""What forms ask for: a field that is left empty asks for nothing."""

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ValidationError

from contentgen_gateway.schemas.refusals import refusal

Asked = TypeVar("Asked", bound=BaseModel)


def query_model(model: type[Asked], **fixed: object) -> Callable[[Request], Asked]:
    """A dependency that reads the query as a model of the API. Raises Problem 422."""
    known = {each.alias or name for name, each in model.model_fields.items()}

    def asked(request: Request) -> Asked:
        given = {key: value for key, value in request.query_params.items() if value.strip() and key in known}
        return validated(model, given | fixed)

    return asked


def validated(model: type[Asked], given: dict[str, object] | dict[str, str]) -> Asked:
    """As the API takes it. Raises Problem 422."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise refusal(error.errors(), "form", model) from None


def redirect(address: str) -> Response:
    """The page after a change: loading it anew repeats nothing."""
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)
