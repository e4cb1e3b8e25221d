"""Errors as problem+json (RFC 9457): what was asked, why it failed, what to do."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from contentgen_contract.api_paths import InvalidName
from contentgen_runtime.kube import API_ERRORS
from contentgen_runtime.store_errors import STORE_ERRORS

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class ProblemDetails(BaseModel):
    """The body of every error."""

    type: str = Field("about:blank", description="URI of the kind of problem.")
    title: str = Field(description="Reason phrase of the HTTP status.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What went wrong, and what to do.")
    errors: list[dict[str, Any]] = Field(default_factory=list, description="Invalid fields: location and expectation.")


class Problem(Exception):
    """An error response. `more` are further members of its body."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more

    def response(self) -> Response:
        """HTTP response with the problem as its body."""
        body = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        content = body | {"detail": self.detail} | self.more
        return JSONResponse(content, self.status, headers=self.headers, media_type=MEDIA_TYPE)


class NotFound(Problem):
    """404, with the same text for a missing object and for one that the caller may not see."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(404, f"there is no {what} {name!r} that you may see")


class BadRequest(Problem):
    """422 for one invalid field."""

    def __init__(self, field: str, given: object, expected: str) -> None:
        message = f"{field}: {given!r} is not {expected}"
        super().__init__(422, message[:600], errors=[{"loc": [field], "msg": f"expected {expected}"}])


RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": ProblemDetails, "description": HTTPStatus(code).phrase, "content": {MEDIA_TYPE: {}}}
    for code in (400, 401, 403, 404, 422, 429, 503)
}
"""Errors of every endpoint, for the OpenAPI document."""

CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ProblemDetails, "description": HTTPStatus(409).phrase, "content": {MEDIA_TYPE: {}}}
}
"""Further errors of endpoints that change something."""


Page = Callable[[Request, Problem], Response | None]
"""Renders a problem as a page; None if the client is not a browser."""


def answer(scope: Scope, problem: Problem) -> Response:
    """Response to a problem: a page for browsers, JSON for other clients. Middleware calls it too."""
    page: Page = scope["app"].state.page
    return page(Request(scope), problem) or problem.response()


def install(app: FastAPI, page: Page) -> None:
    """Register the error handlers of an app. `page` renders problems for browsers."""
    app.state.page = page

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return answer(request.scope, error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return answer(request.scope, Problem(error.status_code, str(error.detail), headers=dict(error.headers or {})))

    @app.exception_handler(InvalidName)
    async def invalid_name(request: Request, error: InvalidName) -> Response:
        return answer(request.scope, Problem(422, str(error)))

    async def unavailable(request: Request, error: Exception) -> Response:
        """503 if a store or the API server is unavailable."""
        _log.warning("a store or the Kubernetes API does not answer: %s: %s", type(error).__name__, _one_line(error))
        detail = "a store or the Kubernetes API does not answer; try again later"
        return answer(request.scope, Problem(503, detail, headers={"Retry-After": "5"}))

    for kind in (*STORE_ERRORS, *API_ERRORS):
        app.add_exception_handler(kind, unavailable)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
