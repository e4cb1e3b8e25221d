"""A Problem as a page, for those who ask with a browser."""

from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.problems import Problem

_ADVICE = {
    403: "Load the page anew and try again. If it stays so, ask whoever runs this cluster for the right to do it.",
    404: "It may have been deleted, or lie in a namespace that you may not see. Search for it, or look at your jobs.",
    429: "Wait a few seconds, then load the page anew.",
    500: "Try again. If it stays so, tell whoever runs this cluster what you asked for and when.",
    503: "Nothing is lost: work goes on in the cluster. Load the page anew in a moment.",
}


def wanted(request: Request) -> bool:
    """Whether it is a person who waits for the answer."""
    is_api = request.url.path.startswith(("/api/", "/openapi", "/health", "/ready"))
    return not is_api and "text/html" in request.headers.get("accept", "")


def page(request: Request, problem: Problem) -> Response | None:
    """The page, or the way to sign in; None where a program asks."""
    if not (wanted(request) or "hx-request" in request.headers):
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
        advice=_ADVICE.get(problem.status, "Correct what is named, and try again."),
    )


def _to_sign_in(request: Request) -> Response:
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(asked, safe='')}" if request.method == "GET" and asked != "/" else ""
    if "hx-request" in request.headers:  # a fragment would show the form in the page's midst
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": "/sign-in"})
    return RedirectResponse(f"/sign-in{back}", HTTPStatus.SEE_OTHER)
