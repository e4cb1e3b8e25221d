"""What the endpoints work with, put together once (`__main__`), and how they come by it."""

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_gateway.auth import csrf
from contentgen_gateway.auth.authentication import ANYBODY, Authenticator, Caller, unauthenticated
from contentgen_gateway.auth.authorization import Authorizer
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.lifecycle import Lifecycle
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.open_streams import OpenStreams
from contentgen_gateway.live.recent_creations import RecentCreations
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.settings import Settings
from contentgen_gateway.stores.collections import Collections
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.records import Purchases, Records
from contentgen_gateway.stores.shares import Shares
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.namespaces import Namespaces


@dataclass(frozen=True)
class Dependencies:
    """Everything behind the HTTP API."""

    settings: Settings
    callers: Authenticator
    access: Authorizer
    records: Records
    purchases: Purchases
    live: LiveJobs
    creations: RecentCreations
    shares: Shares
    collections: Collections
    sight: Visibility
    tenants: Tenants
    transcripts: TranscriptIndex
    indexer: Indexer
    resources: JobResources
    files: BucketFiles
    clock: Clock = utc_now
    namespaces: Namespaces = field(default_factory=Namespaces)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    streams: OpenStreams = field(default_factory=OpenStreams)


def parts_of(request: Request) -> Dependencies:
    """The parts of the app that serves a request."""
    return cast("Dependencies", request.app.state.parts)


async def _parts(request: Request) -> Dependencies:
    """The same, for endpoints: FastAPI runs what is no coroutine in a thread."""
    return parts_of(request)


def token_of(request: HTTPConnection) -> str | None:
    """The token that a request brings, whatever it is worth."""
    return _bearer(request) or csrf.session(request)


def _bearer(request: HTTPConnection) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None


_BEARER = HTTPBearer(
    auto_error=False, description=f"A token for the audience {GATEWAY_AUDIENCE}: kubectl create token NAME --audience …"
)


async def caller_of(
    request: Request, parts: Annotated[Dependencies, Depends(_parts)], _: Annotated[object, Depends(_BEARER)] = None
) -> Caller:
    """Who asks. Raises Problem 401."""
    caller = await _who(request, parts)
    request.state.caller = caller  # for the log
    return caller


async def _who(request: Request, parts: Dependencies) -> Caller:
    if parts.settings.gateway_sign_in == "None":
        csrf.refuse_foreign(request)
        return ANYBODY
    if token := _bearer(request):
        return await parts.callers.caller(token)
    if cookie := csrf.session(request):
        await csrf.check(request)
        return await parts.callers.caller(cookie)
    raise unauthenticated("a bearer token is needed")


Using = Annotated[Dependencies, Depends(_parts)]
Calling = Annotated[Caller, Depends(caller_of)]
