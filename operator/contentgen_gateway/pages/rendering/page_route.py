"""Route of a page: a refused form shows its own page again, with the error beside the field and the values typed.

A query that is refused shows the list without the wrong parameters. The page is rendered by its own route: with the
caller's rights, and with what has changed since.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.types import Message, Scope

from contentgen_contract.api_paths import InvalidName
from contentgen_gateway.auth import csrf
from contentgen_gateway.problems import NotFound, Problem
from contentgen_gateway.schemas.refusals import of_request

_SHOWN_AGAIN = (403, 404, 409, 422)
_KEPT = (
    "type",
    "asgi",
    "http_version",
    "scheme",
    "client",
    "server",
    "root_path",
    "app",
    "state",
    "extensions",
    "starlette.exception_handlers",
    "fastapi_middleware_astack",
)
"""Keys of an ASGI scope that tell about the connection and the app, and not about the route."""
_SECRET = (csrf.FIELD, "token")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class RefusedForm:
    """Refused form or query: its path, the values that were typed, the error of each field, and the whole text."""

    action: str
    typed: Mapping[str, str]
    errors: Mapping[str, str]
    detail: str
    posted: bool

    def of(self, form: str) -> bool:
        """True if the form with this action, or with this end of its action, was refused."""
        return self.action.endswith(form)


class PageRoute(APIRoute):
    """Route that answers a refused form with the nearest page of its path: its own, or one above it."""

    def get_route_handler(self) -> Handler:
        """Handler of requests."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except (Problem, RequestValidationError, InvalidName) as error:
                problem = _problem(request, error)
                again = await _shown_again(request, problem)
                if again is None:
                    raise problem from None
                return again

        return handled


def _problem(request: Request, error: Problem | RequestValidationError | InvalidName) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidName) or error.errors()[0]["loc"][0] == "path":
        return NotFound("page", request.url.path)
    return of_request(request, error)


async def _shown_again(request: Request, problem: Problem) -> Response | None:
    """Page with the error; None if the problem is shown alone.

    A request whose caller or form token was refused is shown alone: another site may have typed its values.
    """
    browser = "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers
    known = hasattr(request.state, "caller") and not hasattr(request.state, "refused")
    if not (browser and known and problem.status in _SHOWN_AGAIN):
        return None
    if request.method == "GET":
        return await _without_wrong_parameters(request, problem)
    form = await request.form()
    typed = {key: value for key, value in form.items() if isinstance(value, str) and key not in _SECRET}
    request.state.refused = _refused(request, problem, typed)
    path = request.url.path
    while path:
        if (page := await _page(request.scope, path, "")) is not None:
            return _with_status(page, problem)
        path = path.rpartition("/")[0]
    return None


async def _without_wrong_parameters(request: Request, problem: Problem) -> Response | None:
    given = dict(parse_qsl(request.url.query))
    if problem.status != 422 or not given:
        return None
    request.state.refused = refused = _refused(request, problem, given)
    left = {key: value for key, value in given.items() if key not in refused.errors}
    for query in (urlencode(left), "") if left != given else ("",):
        if (page := await _page(request.scope, request.url.path, query)) is not None:
            return _with_status(page, problem)
    return None


def _refused(request: Request, problem: Problem, typed: Mapping[str, str]) -> RefusedForm:
    errors: dict[str, str] = {}
    names = {to_camel(each_field): each_field for each_field in typed}
    for error in problem.more.get("errors") or ():
        name = next((str(part) for part in error["loc"][1:] or error["loc"]), "")
        field = name if name in typed else names.get(name, name)
        errors.setdefault(field, str(error["msg"]))
    detail = problem.detail.partition(": ")[2] if errors else ""  # the field has its error beside it
    return RefusedForm(request.url.path, typed, errors, detail or problem.detail, request.method != "GET")


async def _page(scope: Scope, path: str, query: str) -> Response | None:
    """Page of a path for the same browser; None if there is none, or if it is refused."""
    kept = {key: value for key, value in scope.items() if key in _KEPT}
    headers = [header for header in scope["headers"] if header[0] not in (b"content-length", b"content-type")]
    asked = kept | {
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
    }
    started: Message = {}
    body = bytearray()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            body.extend(message.get("body", b""))

    try:
        await scope["app"].router(asked, _no_body, send)
    except HTTPException:
        return None
    if started.get("status") != 200:
        return None
    page = Response(bytes(body))
    page.raw_headers = started["headers"]
    return page


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _with_status(page: Response, problem: Problem) -> Response:
    page.status_code = problem.status
    return page
