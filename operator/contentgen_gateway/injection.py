"""FastAPI dependencies of routes and pages: the caller, and the services of the request's app."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_gateway.auth import csrf
from contentgen_gateway.auth.authentication import ANYBODY, Authenticator, Caller, unauthenticated
from contentgen_gateway.auth.tokens import bearer_token
from contentgen_gateway.dependencies import Dependencies, Services
from contentgen_gateway.services.assets import AssetReader
from contentgen_gateway.services.changes.actions import JobActions
from contentgen_gateway.services.changes.creation import JobCreation
from contentgen_gateway.services.changes.deletion import JobDeletion
from contentgen_gateway.services.changes.editing import JobEditing
from contentgen_gateway.services.changes.notifications import JobNotifications
from contentgen_gateway.services.changes.sharing import JobSharing
from contentgen_gateway.services.collections import CollectionEditor
from contentgen_gateway.services.datasets import DatasetReader
from contentgen_gateway.services.downloads import FileReader
from contentgen_gateway.services.job_details import ResourceReader
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.services.legacy_imports import LegacyImporter
from contentgen_gateway.services.orphans import OrphanReader
from contentgen_gateway.services.queue import QueueReader
from contentgen_gateway.services.reports.audits import AuditReader
from contentgen_gateway.services.reports.given_up import GivenUpReader
from contentgen_gateway.services.reports.usage import UsageReader
from contentgen_gateway.services.streams import JobStreams
from contentgen_gateway.services.transcript_search import TranscriptSearcher
from contentgen_gateway.services.viewed_states import ViewedStates


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


def _service(select: Callable[[Services], object]) -> Any:
    async def selected(request: Request) -> object:  # a coroutine: FastAPI runs any other function in a thread
        return select(cast("Services", request.app.state.services))

    return Depends(selected)


async def _dependencies(request: Request) -> Dependencies:
    return dependencies_of(request)


async def _authenticator(request: Request) -> Authenticator:
    return dependencies_of(request).authenticator


async def _now(request: Request) -> datetime:
    return dependencies_of(request).clock()


CallerDep = Annotated[Caller, Depends(caller_of)]
DependenciesDep = Annotated[Dependencies, Depends(_dependencies)]
AuthenticatorDep = Annotated[Authenticator, Depends(_authenticator)]
NowDep = Annotated[datetime, Depends(_now)]
"""Current time, in UTC."""

ActionsDep = Annotated[JobActions, _service(lambda services: services.actions)]
AssetsDep = Annotated[AssetReader, _service(lambda services: services.assets)]
AuditsDep = Annotated[AuditReader, _service(lambda services: services.audits)]
CollectionsDep = Annotated[CollectionEditor, _service(lambda services: services.collections)]
CreationDep = Annotated[JobCreation, _service(lambda services: services.creation)]
DatasetsDep = Annotated[DatasetReader, _service(lambda services: services.datasets)]
DeletionDep = Annotated[JobDeletion, _service(lambda services: services.deletion)]
EditingDep = Annotated[JobEditing, _service(lambda services: services.editing)]
FilesDep = Annotated[FileReader, _service(lambda services: services.files)]
GivenUpDep = Annotated[GivenUpReader, _service(lambda services: services.given_up)]
JobsDep = Annotated[JobReader, _service(lambda services: services.jobs)]
LegacyImportsDep = Annotated[LegacyImporter, _service(lambda services: services.legacy_imports)]
NotificationsDep = Annotated[JobNotifications, _service(lambda services: services.notifications)]
OrphansDep = Annotated[OrphanReader, _service(lambda services: services.orphans)]
QueueDep = Annotated[QueueReader, _service(lambda services: services.queue)]
ResourcesDep = Annotated[ResourceReader, _service(lambda services: services.resources)]
SharingDep = Annotated[JobSharing, _service(lambda services: services.sharing)]
StreamsDep = Annotated[JobStreams, _service(lambda services: services.streams)]
TranscriptSearchDep = Annotated[TranscriptSearcher, _service(lambda services: services.transcript_search)]
UsageDep = Annotated[UsageReader, _service(lambda services: services.usage)]
ViewedStatesDep = Annotated[ViewedStates, _service(lambda services: services.viewed_states)]
