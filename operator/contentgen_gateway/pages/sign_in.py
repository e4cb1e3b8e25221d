"""Sign-in with a token of the cluster, sign-out, and the theme of the pages."""

import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from pymongo.errors import PyMongoError

from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_gateway.auth import csrf
from contentgen_gateway.injection import AuthenticatorDep
from contentgen_gateway.pages.rendering.render import THEME, THEMES, render
from contentgen_gateway.problems import Problem
from contentgen_runtime.kube import API_ERRORS

_log = logging.getLogger(__name__)
_LONGEST = 3800  # browsers drop a cookie of more than 4 KiB, silently
_A_YEAR = 31536000

router = APIRouter()


@router.get("/sign-in")
async def show_form(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """Page of the form."""
    return _form(request, next)


@router.post("/sign-in", dependencies=[Depends(csrf.check)])
async def sign_in(
    request: Request,
    authenticator: AuthenticatorDep,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002 - the name in the form
) -> Response:
    """Verify the token with Kubernetes and store it in a cookie of the browser, nowhere else."""
    token = "".join(token.split())  # a pasted token may have line breaks
    if not token:
        return _form(request, next, wrong="Paste a token first.")
    if len(token) > _LONGEST or not token.isascii():
        return _form(request, next, wrong=f"A token has at most {_LONGEST} characters, and ASCII characters only.")
    try:
        await authenticator.authenticate(token)
    except Problem as problem:
        if problem.status != HTTPStatus.UNAUTHORIZED:
            raise
        return _form(request, next, wrong="This is not a token of this cluster for the gateway, or it has expired.")
    response = RedirectResponse(_own_path(next), HTTPStatus.SEE_OTHER)
    csrf.set_cookie(request, response, csrf.SESSION, token)
    csrf.delete_cookie(request, response, csrf.VISITOR)
    return response


@router.post("/sign-out", dependencies=[Depends(csrf.check)])
async def sign_out(request: Request, authenticator: AuthenticatorDep) -> Response:
    """Delete the cookie and revoke the token for the gateway."""
    if token := csrf.session(request):
        try:
            await authenticator.sign_out(token)
        except (PyMongoError, *API_ERRORS) as error:
            _log.warning(
                "a token could not be revoked, only its cookie is deleted: %s: %s",
                type(error).__name__,
                str(error)[:200],
            )
    response = RedirectResponse("/sign-in?said=signed-out", HTTPStatus.SEE_OTHER)
    csrf.delete_cookie(request, response, csrf.SESSION)
    return response


@router.post("/theme", dependencies=[Depends(csrf.check)])
async def choose_theme(
    request: Request,
    theme: Annotated[str, Form()] = "auto",
    next: Annotated[str, Form()] = "/",  # noqa: A002 - as above
) -> Response:
    """Store the theme in a cookie."""
    response = RedirectResponse(_own_path(next), HTTPStatus.SEE_OTHER)
    chosen = theme if theme in THEMES else THEMES[0]
    response.set_cookie(
        THEME, chosen, max_age=_A_YEAR, path="/", httponly=True, samesite="lax", secure=request.state.by_tls
    )
    return response


def _form(request: Request, following: str, wrong: str = "") -> Response:
    status = HTTPStatus.UNAUTHORIZED if wrong else HTTPStatus.OK
    command = f"kubectl create token NAME --namespace NAMESPACE --audience {GATEWAY_AUDIENCE}"
    place = _own_path(following)
    return render(request, "sign_in.html", status=status, wrong=wrong, command=command, following=place)


def _own_path(address: str) -> str:
    """Path within the gateway; the dashboard for any other address."""
    plain = address.startswith("/") and not address.startswith("//") and "\\" not in address
    return address if plain and address.isprintable() else "/"
