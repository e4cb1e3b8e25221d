"""Page of a Problem, for browsers."""

from http import HTTPStatus
from typing import cast
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from contentgen_gateway.auth import csrf
from contentgen_gateway.auth.authentication import ANYBODY, Caller
from contentgen_gateway.injection import dependencies_of
from contentgen_gateway.pages.rendering.render import PLACES, render
from contentgen_gateway.problems import Problem

_TITLES = {
    403: "Not allowed",
    404: "Not found",
    405: "Not a page",
    409: "Not possible now",
    422: "Not understood",
    503: "Not available",
}
_ADVICE = {
    403: "Load the page again. If it fails again, ask an administrator of this cluster for the right.",
    404: "It may have been deleted, or be in a namespace that you may not see. Search for it, or open the job list.",
    409: "Open the job: its page shows its state and the actions that it permits now.",
    429: "Wait a few seconds, then reload the page.",
    500: "Try again. If it fails again, tell an administrator of this cluster what you did and when.",
    503: "No data is lost, and jobs continue in the cluster. Reload the page in a moment.",
}


def expects_page(request: Request) -> bool:
    """True if the client is a browser that expects a page."""
    is_api = request.url.path.startswith(("/api/", "/openapi", "/health", "/ready"))
    return not is_api and "text/html" in request.headers.get("accept", "")


def page(request: Request, problem: Problem) -> Response | None:
    """Page of a problem, or redirect to the sign-in; None for other clients than browsers."""
    if not (expects_page(request) or "hx-request" in request.headers):
        return None
    if problem.status == HTTPStatus.UNAUTHORIZED and request.url.path != "/sign-in":
        return _to_sign_in(request)
    unknown = problem.status == HTTPStatus.NOT_FOUND and problem.detail == HTTPStatus.NOT_FOUND.phrase
    return render(
        request,
        "problem.html",
        _viewer(request),
        status=problem.status,
        headers=problem.headers,
        title=_TITLES.get(problem.status, HTTPStatus(problem.status).phrase),
        code=problem.status,
        detail=f"there is no page {request.url.path}" if unknown else problem.detail,
        above=next((place for place in PLACES[1:] if request.url.path.startswith(f"{place.path}/")), None),
        advice=_ADVICE.get(problem.status, "Correct the input and try again."),
    )


def _viewer(request: Request) -> Caller | None:
    """Caller for the navigation, which shows the name only; None if nobody has signed in."""
    if (caller := getattr(request.state, "caller", None)) is not None:
        return cast("Caller", caller)
    dependencies = dependencies_of(request)
    if dependencies.settings.gateway_sign_in == "None":
        return ANYBODY
    token = csrf.session(request)
    return dependencies.authenticator.last_known(token) if token else None


def _to_sign_in(request: Request) -> Response:
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(asked, safe='')}" if request.method == "GET" and asked != "/" else ""
    if "hx-request" in request.headers:  # a fragment would show the form inside of the page
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": "/sign-in"})
    return RedirectResponse(f"/sign-in{back}", HTTPStatus.SEE_OTHER)
