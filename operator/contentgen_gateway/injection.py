"""FastAPI dependencies of routes and pages: the caller, and the services of the request's app."""

from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_gateway.auth import csrf
from contentgen_gateway.auth.authentication import ANYBODY, Authenticator, Caller, unauthenticated
from contentgen_gateway.auth.tokens import bearer_token
from contentgen_gateway.dependencies import Dependencies, Services


def dependencies_of(request: Request) -> Dependencies:
    """Stores and clients of the app that serves a request."""
    return cast("Dependencies", request.app.state.dependencies)


_BEARER = HTTPBearer(
    auto_error=False, description=f"A token for the audience {GATEWAY_AUDIENCE}: kubectl create token NAME --audience …"
)


async def caller_of(request: Request, _: Annotated[object, Depends(_BEARER)] = None) -> Caller:
    """Authenticated caller of a request. Raises Problem 401."""
    caller = await _authenticate(request, dependencies_of(request))
    request.state.caller = caller  # for the access log
    return caller


async def _authenticate(request: Request, dependencies: Dependencies) -> Caller:
    if dependencies.settings.gateway_sign_in == "None":
        csrf.refuse_foreign(request)
        return ANYBODY
    if token := bearer_token(request):
        return await dependencies.authenticator.authenticate(token)
    if cookie := csrf.session(request):
        await csrf.check(request)
        return await dependencies.authenticator.authenticate(cookie)
    raise unauthenticated("a bearer token is needed")


async def _services(request: Request) -> Services:  # a coroutine: FastAPI runs any other function in a thread
    return cast("Services", request.app.state.services)


async def _dependencies(request: Request) -> Dependencies:
    return dependencies_of(request)


async def _authenticator(request: Request) -> Authenticator:
    return dependencies_of(request).authenticator


async def _now(request: Request) -> datetime:
    return dependencies_of(request).clock()


CallerDep = Annotated[Caller, Depends(caller_of)]
DependenciesDep = Annotated[Dependencies, Depends(_dependencies)]
ServicesDep = Annotated[Services, Depends(_services)]
AuthenticatorDep = Annotated[Authenticator, Depends(_authenticator)]
NowDep = Annotated[datetime, Depends(_now)]
"""Current time, in UTC."""
