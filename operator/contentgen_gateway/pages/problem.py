"""Page of a Problem, for browsers."""

from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.problems import Problem

_ADVICE = {
    403: "Reload the page and try again. If it fails again, ask an administrator of this cluster for the permission.",
    404: "It may have been deleted, or be in a namespace that you may not see. Search for it, or open the job list.",
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
    return render(
        request,
        "problem.html",
        status=problem.status,
        headers=problem.headers,
        title=HTTPStatus(problem.status).phrase,
        code=problem.status,
        detail=problem.detail,
        advice=_ADVICE.get(problem.status, "Correct the input and try again."),
    )


def _to_sign_in(request: Request) -> Response:
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(asked, safe='')}" if request.method == "GET" and asked != "/" else ""
    if "hx-request" in request.headers:  # a fragment would show the form inside of the page
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": "/sign-in"})
    return RedirectResponse(f"/sign-in{back}", HTTPStatus.SEE_OTHER)
