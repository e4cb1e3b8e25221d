"""The desk: the only part of contentgen that a worker talks to.

The token is read anew for each request (the kubelet rotates it), and the certificate must come from exactly the
CA that the pod was given.
"""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

import httpx
from pydantic import ValidationError

from contentgen_contract.base import Value
from contentgen_contract.worker.orders import FileClaim, Progress, UploadGrant, UploadGrants, UploadRequest, WorkOrder
from contentgen_worker.errors import Retryable, WorkerApiRefused
from contentgen_worker.log import event
from contentgen_worker.retry import DESK, DESK_REFUSAL_SECONDS, DESK_SHARE, RetryPolicy

_PASSING_CODES = (425,)
_LONGEST_RETRY_AFTER = 60.0  # seconds; whatever the header says
M = TypeVar("M", bound=Value)


class _WorkerApiUnavailable(Retryable):
    """The desk can't be reached, or says that it can't answer now.

    `retry_after`: seconds until it may be asked again, where it has limited our rate; else None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WorkerApiClient:
    """A client of the desk. Use as a context manager.

    `ends_at` is when the Job is ended, by `clock`: until shortly before, an absent desk is waited
    for. What has been downloaded and made is worth more than the pod's place.
    """

    def __init__(
        self,
        url: str,
        ca: str,
        token_file: Path,
        *,
        patience: RetryPolicy = DESK,
        refusal_seconds: float = DESK_REFUSAL_SECONDS,
        timeout: float = 30,
        ends_at: float = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        verify: ssl.SSLContext | bool = ssl.create_default_context(cadata=ca) if ca else True
        self._client = httpx.Client(
            base_url=url, verify=verify, trust_env=False, timeout=httpx.Timeout(timeout, connect=min(timeout, 10))
        )
        self._token_file = token_file
        self._patience = patience
        self._refusal_seconds = refusal_seconds
        self._ends_at = ends_at
        self._clock = clock
        self._quiet_until = 0.0

    def __enter__(self) -> "WorkerApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def order(self) -> WorkOrder:
        """What to do."""
        return _parsed(WorkOrder, self._persistently("GET", "/v1/order"))

    def grants(self, claims: Sequence[FileClaim]) -> tuple[UploadGrant, ...]:
        """A signed PUT for each of at most 256 files, in their order."""
        answer = self._persistently("POST", "/v1/uploads", UploadRequest(files=tuple(claims)))
        grants = _parsed(UploadGrants, answer).grants
        if [grant.name for grant in grants] != [claim.name for claim in claims]:
            raise Retryable("the desk granted other files than asked for; operator and worker may differ in version")
        return grants

    def report(self, progress: Progress) -> None:
        """Tell the progress, once. Raises where nobody listens, and without a request while our rate is limited."""
        if self._clock() < self._quiet_until:
            raise _WorkerApiUnavailable("the desk has limited our rate")
        self._once("POST", "/v1/progress", progress)

    def wake(self) -> None:
        """Tell the operator that the outcome is in the store. It would find out by itself, later."""
        try:
            self._once("POST", "/v1/outcome")
        except Retryable as error:
            event("operator not woken", error=str(error))

    def _persistently(self, method: str, path: str, body: Value | None = None) -> httpx.Response:
        patience = self._patience.lasting(DESK_SHARE * (self._ends_at - self._clock()))
        return patience.run(lambda: self._once(method, path, body), _Again(self._refusal_seconds, self._clock))

    def _once(self, method: str, path: str, body: Value | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token()}"}
        content = None if body is None else body.model_dump_json(by_alias=True).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._client.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise _WorkerApiUnavailable(
                f"desk {method} {path}: {type(error).__name__} {error}; is the operator up?"
            ) from None
        try:
            _raise_for(response, f"desk {method} {path}")
        except _WorkerApiUnavailable as error:
            self._quiet_until = self._clock() + (error.retry_after or 0)
            raise
        return response

    def _token(self) -> str:
        try:
            return self._token_file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise WorkerApiRefused(
                f"token file {self._token_file}: {error}; the pod needs its projected token"
            ) from None


class _Again:
    """Whether to try again: while the desk is away, and for a little while when it refuses us."""

    def __init__(self, refusal_seconds: float, clock: Callable[[], float]) -> None:
        self._refusal_seconds = refusal_seconds
        self._clock = clock
        self._refused_since: float | None = None

    def __call__(self, error: Exception) -> bool | float:
        """Whether to try again, or after how many seconds."""
        if not isinstance(error, WorkerApiRefused):
            self._refused_since = None
            return (error.retry_after or True) if isinstance(error, _WorkerApiUnavailable) else False
        now = self._clock()
        self._refused_since = self._refused_since or now
        return now - self._refused_since < self._refusal_seconds


def _raise_for(response: httpx.Response, what: str) -> None:
    code = response.status_code
    text = f"{what}: HTTP {code} {response.text[:200]}".rstrip()
    if code in (401, 403):
        raise WorkerApiRefused(f"{text}; the desk does not know this pod's token")
    if code == 429:
        raise _WorkerApiUnavailable(text, _retry_after(response))
    if code in _PASSING_CODES or code >= 500:
        raise _WorkerApiUnavailable(text)
    if not response.is_success:
        raise Retryable(f"{text}; expected 2xx")


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that a response asks us to wait; None where it names none, or a date."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY_AFTER) if text.isdecimal() and len(text) < 10 else None


def _parsed(model: type[M], response: httpx.Response) -> M:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors()[:5])
        raise Retryable(f"the desk's {model.__name__} can't be read (wrong: {fields}); versions may differ") from None
