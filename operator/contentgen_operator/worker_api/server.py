"""Worker API: the operator's HTTPS server for worker pods. A worker has one credential, a token bound to its pod. With
it, for its own Job only, it can read its work order, report progress and the outcome, and request upload URLs.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.middleware import Middleware
from starlette.types import Scope

from contentgen_contract.records import keys
from contentgen_contract.worker.orders import FileOffer, Progress, UploadGrant, UploadGrants, UploadRequest, WorkOrder
from contentgen_operator.clock import utc_now
from contentgen_operator.fairness.fair_pool import FairPool
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.assignment import Assignment, RunOver
from contentgen_operator.state.kinds.table import file_limits
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.runs import purchase_key
from contentgen_operator.state.upload_limits import FileLimit, limit_of
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.worker_api.authentication import (
    NotAWorker,
    NotYetRecorded,
    Refusal,
    Unauthenticated,
    WorkerAuthenticator,
)
from contentgen_operator.worker_api.rate_limit import (
    JOB_FILES,
    JOB_ORDERS,
    JOB_REQUESTS,
    NAMESPACE_FILES,
    NAMESPACE_ORDERS,
    NAMESPACE_REQUESTS,
    REQUESTS,
    Admission,
    RateLimitMiddleware,
    TooManyRequests,
    address_of,
    too_many,
)
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.work_orders import (
    NotPurchased,
    OrderSettings,
    SourceRefused,
    upload_lifetime,
    work_order,
)
from contentgen_runtime.http_server.body_limit import BodyLimit
from contentgen_runtime.http_server.token_buckets import RateLimit, TokenBuckets
from contentgen_runtime.kube import API_ERRORS, Conflict, explain
from contentgen_runtime.store_errors import STORE_ERRORS

_log = logging.getLogger(__name__)
# Conflict: the namespace is gone, or another process leads.
_UNAVAILABLE = (*STORE_ERRORS, *API_ERRORS, Conflict)
_MAX_BODY_BYTES = 256 * 1024
_MOST_REMOVED = 20_000  # versions removed for one attempt; a stage has 4,096 files at most, each usually one version
_ASKED_AGAIN = 32  # average requests per file: grants expire, and requests are retried
_UPLOADS_AT_ONCE = 4  # requests of a Job; a worker sends one, and another after a timeout
_SIGNED_AT_ONCE = 16  # uploads signed for a namespace, about 10 ms of CPU time, before the next one's turn
_PROGRESS_SECONDS = 1.0  # a status is written at most once a second for progress


_REFUSALS: dict[type[Refusal], Callable[[str], HTTPException]] = {
    Unauthenticated: partial(HTTPException, 401),
    NotAWorker: partial(HTTPException, 403),
    NotYetRecorded: partial(HTTPException, 425, headers={"Retry-After": "1"}),
}


@dataclass(kw_only=True)
class WorkerApi:
    """Implementation of the endpoints. `check` raises Conflict if this process does not lead."""

    authenticator: WorkerAuthenticator
    storage: Storage
    ledger: Ledger
    reports: Reports
    settings: OrderSettings
    wake: Callable[[ResourceRef, float], Awaitable[None]]
    verifier: StatusVerifier
    clock: Callable[[], float] = time.monotonic
    check: Check = unchecked

    def __post_init__(self) -> None:
        self._admission = Admission(self.clock, (Unauthenticated, NotAWorker))
        self.requests = TokenBuckets(REQUESTS, self.clock)
        self._request_rates = _Rates(JOB_REQUESTS, NAMESPACE_REQUESTS, self.clock)
        self._order_rates = _Rates(JOB_ORDERS, NAMESPACE_ORDERS, self.clock)
        self._file_rates = _Rates(JOB_FILES, NAMESPACE_FILES, self.clock)
        self._signing = FairPool(1, 1, "sign")  # one thread: signing is CPU-bound
        self._uploading: Counter[str] = Counter()  # requests in progress, by the uid of the Job

    async def assignment(self, token: str, address: str, asked: str) -> Assignment:
        """Assignment of the bearer of a token. Logs a refusal with the request (`asked`), such as "GET /v1/order".

        Raises HTTPException, or TooManyRequests for too many requests or tokens of a Job, requests of a namespace, or
        invalid tokens from an address.
        """
        self.check()
        try:
            known = await self._admission.admit(token, address, self.authenticator.assignment, _job_uid)
            self._request_rates.take(known)
            return await self.verifier.assignment(known)
        except RunOver as error:
            _log.warning("a worker was refused %s: %s", asked, error)
            raise HTTPException(403, str(error)) from error
        except Refusal as error:
            _log.warning("%s was refused %s: %s", error.who, asked, error)
            raise _REFUSALS[type(error)](str(error)) from error

    async def order(self, assignment: Assignment) -> WorkOrder:
        """Work order of an assignment. Raises HTTPException, or TooManyRequests."""
        self._order_rates.take(assignment)
        await self._refuse_ended(assignment)
        purchase = await self.ledger.get(purchase_key(assignment.resource, assignment.run))
        try:
            order = await self._signing.run(
                _namespace(assignment), work_order, assignment, purchase, self.storage, self.settings, utc_now()
            )
            self.check()
        except NotPurchased as error:
            _log.warning("a worker was refused a provider's response: %s", error, extra=assignment.resource.ref.about)
            raise HTTPException(403, str(error)) from error
        except SourceRefused as error:
            _log.warning("a worker was refused its source: %s", error, extra=assignment.resource.ref.about)
            raise HTTPException(403, str(error)) from error
        return order

    async def progress(self, assignment: Assignment, progress: Progress) -> None:
        """Store the newest progress and wake the resource; the queue merges wake-ups within a second."""
        self.reports.note_progress(assignment.job.uid or "", progress)
        await self.wake(assignment.resource.ref, _PROGRESS_SECONDS)

    async def uploads(self, assignment: Assignment, request: UploadRequest) -> UploadGrants:
        """Presigned PUTs of new objects under the Job's own prefix; an existing different file is removed first.

        Raises HTTPException 422 for names, sizes and content types that the stage may not write, 403 after the
        attempt's end, 409 if it has requested more than its files can need; TooManyRequests.
        """
        limits = file_limits(assignment.spec, assignment.job.stage, self.settings.limits)
        try:
            for offer in request.files:
                _check_offer(assignment, offer, limits)
            self._file_rates.take(assignment, len(request.files))
            with self._turn(_job_uid(assignment)):
                return await self._granted(assignment, request, limits)
        except HTTPException as error:
            _log.warning(
                "Job %s was refused uploads: %s", assignment.job.name, error.detail, extra=assignment.resource.ref.about
            )
            raise

    @contextmanager
    def _turn(self, job_uid: str) -> Iterator[None]:
        """Slot for an upload request of a Job. Raises TooManyRequests."""
        if self._uploading[job_uid] >= _UPLOADS_AT_ONCE:
            raise TooManyRequests(1)
        self._uploading[job_uid] += 1
        try:
            yield
        finally:
            self._uploading[job_uid] -= 1
            if not self._uploading[job_uid]:
                del self._uploading[job_uid]

    async def _granted(
        self, assignment: Assignment, request: UploadRequest, limits: Sequence[FileLimit]
    ) -> UploadGrants:
        async with self.reports.exclusive(assignment.job.uid or ""):
            await self._refuse_ended(assignment)
            self._count(assignment, request.files, limits)
            kept = await self._without_leftovers(assignment, request.files)
            good_for = upload_lifetime(assignment, self.settings, utc_now())
            grants = await self._signed(assignment, request.files, good_for)
            self.check()
        return UploadGrants(grants=tuple(grant.model_copy(update={"stored": grant.name in kept}) for grant in grants))

    async def _signed(
        self, assignment: Assignment, offers: Sequence[FileOffer], good_for: timedelta
    ) -> list[UploadGrant]:
        owner, prefix = assignment.owner, assignment.prefix

        def sign(batch: Sequence[FileOffer]) -> list[UploadGrant]:
            return [self.storage.grant(owner, prefix, offer, good_for) for offer in batch]

        batches = [offers[start : start + _SIGNED_AT_ONCE] for start in range(0, len(offers), _SIGNED_AT_ONCE)]
        return list(chain.from_iterable(await self._signing.map(_namespace(assignment), sign, batches)))

    def _count(self, assignment: Assignment, offers: Sequence[FileOffer], limits: Sequence[FileLimit]) -> None:
        """Count files and bytes. Raises HTTPException 409 beyond what all files of the stage can need."""
        most_files = _ASKED_AGAIN * sum(limit.count for limit in limits)
        most_bytes = _ASKED_AGAIN * sum(limit.count * limit.size_bytes for limit in limits)
        size = sum(offer.size_bytes for offer in offers)
        files, total = self.reports.note_offered(assignment.job.uid or "", len(offers), size)
        if files > most_files or total > most_bytes:
            what = (
                f"{files} files of {total} bytes in total; expected at most {most_files} files and {most_bytes} bytes"
            )
            raise HTTPException(409, f"the attempt has requested uploads of {what}")

    async def _without_leftovers(self, assignment: Assignment, offers: Sequence[FileOffer]) -> frozenset[str]:
        """Names that are stored as offered. Different files of the offered names, left by an
        earlier PUT, are removed.
        """
        found = await self.storage.leftovers(assignment.owner, assignment.prefix, offers, _namespace(assignment))
        if found.stale:
            removed = self.reports.note_removed(assignment.job.uid or "", len(found.stale))
            if removed > _MOST_REMOVED:
                raise HTTPException(409, f"more than {_MOST_REMOVED} objects were removed for this attempt")
            # After the listing: files that workers of the next leader store have other versions. In a store without
            # versions such a file may be removed; then its verification fails, and the stage runs again.
            self.check()
            await self.storage.remove(assignment.owner, found.stale)
        return found.kept

    async def _refuse_ended(self, assignment: Assignment) -> None:
        """Raises HTTPException 403 if the attempt has ended: its files may already be verified.

        The outcome in the bucket also shows it to an operator that has started since.
        """
        stored = self.storage.exists
        if self.reports.ended(assignment.job.uid or "") or await stored(assignment.owner, assignment.outcome_key):
            raise HTTPException(403, "the attempt has ended; no URLs are signed for it")

    async def outcome(self, assignment: Assignment) -> None:
        """Note that the outcome is stored and wake the resource; a repeated report is not urgent."""
        news = self.reports.note_finished(assignment.job.uid or "")
        await self.wake(assignment.resource.ref, 0 if news else _PROGRESS_SECONDS)


class _Rates:
    """Rate limits of one cost, by Job and by namespace."""

    def __init__(self, job: RateLimit, namespace: RateLimit, clock: Callable[[], float]) -> None:
        self._job = TokenBuckets(job, clock)
        self._namespace = TokenBuckets(namespace, clock)

    def take(self, assignment: Assignment, amount: int = 1) -> None:
        """Charge a Job and its namespace, or neither. Raises TooManyRequests."""
        job_uid = _job_uid(assignment)
        if wait := self._job.take(job_uid, amount):
            raise TooManyRequests(wait)
        if wait := self._namespace.take(_namespace(assignment), amount):
            self._job.give_back(job_uid, amount)
            raise TooManyRequests(wait)


def _job_uid(assignment: Assignment) -> str:
    return assignment.job.uid or ""


def _namespace(assignment: Assignment) -> str:
    return assignment.resource.ref.namespace


def _check_offer(assignment: Assignment, offer: FileOffer, limits: Sequence[FileLimit]) -> None:
    kind, stage = assignment.resource.ref.kind, assignment.job.stage
    if not keys.is_output(kind, stage, offer.name):
        raise HTTPException(422, f"the {stage} stage of a {kind} may not write {offer.name!r}")
    try:
        expected = keys.content_type(offer.name)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    if offer.content_type != expected:
        raise HTTPException(422, f"{offer.name} has the content type {offer.content_type}; expected {expected}")
    limit = limit_of(offer.name, limits)
    if limit is None:
        raise HTTPException(422, f"{offer.name}: the number is beyond what the spec asks for")
    if offer.size_bytes > limit.size_bytes:
        raise HTTPException(422, f"{offer.name} has {offer.size_bytes} bytes; expected at most {limit.size_bytes}")


def _too_large(_scope: Scope, detail: str) -> Response:
    return JSONResponse({"detail": detail}, 413)


async def _unavailable(_request: Request, error: Exception) -> Response:
    """503 while a store or the Kubernetes API is unavailable: the worker retries."""
    _log.warning("unavailable, a worker has to retry: %s", explain(error))
    return JSONResponse({"detail": "try again later"}, 503, headers={"Retry-After": "5"})


async def _too_many(_request: Request, error: TooManyRequests) -> Response:
    return too_many(error)


def create_app(api: WorkerApi) -> FastAPI:
    """HTTP endpoints of the worker API."""
    handlers: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
        TooManyRequests: _too_many,
        **dict.fromkeys(_UNAVAILABLE, _unavailable),
    }
    app = FastAPI(
        title="contentgen worker API",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(RateLimitMiddleware, limiter=api.requests),
            Middleware(BodyLimit, limit=_MAX_BODY_BYTES, refuse=_too_large, chunked=False),
        ],
        exception_handlers=handlers,
    )
    bearer = HTTPBearer(auto_error=False)

    async def caller(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> Assignment:
        if credentials is None:
            raise HTTPException(401, "a bearer token is required")
        asked = f"{request.method} {request.url.path}"
        return await api.assignment(credentials.credentials, address_of(request.scope), asked)

    Caller = Annotated[Assignment, Depends(caller)]  # noqa: N806 - a type

    @app.get("/v1/order")
    async def order(caller: Caller) -> WorkOrder:
        return await api.order(caller)

    @app.post("/v1/progress", status_code=204)
    async def progress(caller: Caller, report: Progress) -> None:
        await api.progress(caller, report)

    @app.post("/v1/uploads")
    async def uploads(caller: Caller, request: UploadRequest) -> UploadGrants:
        return await api.uploads(caller, request)

    @app.post("/v1/outcome", status_code=204)
    async def outcome(caller: Caller) -> None:
        await api.outcome(caller)

    return app
