"""Client of the worker API, the only part of contentgen that a worker talks to.

The token is read for each request, since the kubelet rotates it. The certificate must be signed by the CA that the pod
was given.
"""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

import httpx
from pydantic import ValidationError

from contentgen_contract.base import Value
from contentgen_contract.worker.orders import FileOffer, Progress, UploadGrant, UploadGrants, UploadRequest, WorkOrder
from contentgen_worker.errors import Retryable, WorkerApiRefused
from contentgen_worker.log import event
from contentgen_worker.retry import DEADLINE_SHARE, REFUSAL_SECONDS, WORKER_API, RetryPolicy

_TRANSIENT_CODES = (425,)
_MAX_RETRY_AFTER = 60.0  # seconds
M = TypeVar("M", bound=Value)


class _WorkerApiUnavailable(Retryable):
    """The worker API can't be reached or answers that it is unavailable.

    `retry_after`: seconds until the next request is allowed, if the rate is limited; else None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WorkerApiClient:
    """HTTP client of the worker API. Use as a context manager.

    `ends_at`: the pod's deadline by `clock`. Requests are retried until shortly before it, since a failed run loses
    what it has downloaded and produced.
    """

    def __init__(
        self,
        url: str,
        ca: str,
        token_file: Path,
        *,
        retry_policy: RetryPolicy = WORKER_API,
        refusal_seconds: float = REFUSAL_SECONDS,
        timeout: float = 30,
        ends_at: float = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        verify: ssl.SSLContext | bool = ssl.create_default_context(cadata=ca) if ca else True
        self._client = httpx.Client(
            base_url=url, verify=verify, trust_env=False, timeout=httpx.Timeout(timeout, connect=min(timeout, 10))
        )
        self._token_file = token_file
        self._retry_policy = retry_policy
        self._refusal_seconds = refusal_seconds
        self._ends_at = ends_at
        self._clock = clock
        self._rate_limited_until = 0.0

    def __enter__(self) -> "WorkerApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def fetch_order(self) -> WorkOrder:
        """The pod's work order. Raises Retryable."""
        return _parse(WorkOrder, self._request_with_retries("GET", "/v1/order"))

    def request_grants(self, offers: Sequence[FileOffer]) -> tuple[UploadGrant, ...]:
        """Presigned PUTs for at most 256 files, in their order. Raises Retryable."""
        response = self._request_with_retries("POST", "/v1/uploads", UploadRequest(files=tuple(offers)))
        grants = _parse(UploadGrants, response).grants
        if [grant.name for grant in grants] != [offer.name for offer in offers]:
            raise Retryable(
                "the worker API granted other files than requested; operator and worker may differ in version"
            )
        return grants

    def report(self, progress: Progress) -> None:
        """Send progress once, without retries. Raises Retryable; sends nothing while the rate is limited."""
        if self._clock() < self._rate_limited_until:
            raise _WorkerApiUnavailable("the worker API has limited our rate")
        self._request("POST", "/v1/progress", progress)

    def notify_outcome(self) -> None:
        """Tell the operator that the outcome is stored. Optional: it polls for it, too."""
        try:
            self._request("POST", "/v1/outcome")
        except Retryable as error:
            event("operator not woken", error=str(error))

    def _request_with_retries(self, method: str, path: str, body: Value | None = None) -> httpx.Response:
        retry_policy = self._retry_policy.at_least(DEADLINE_SHARE * (self._ends_at - self._clock()))
        return retry_policy.run(
            lambda: self._request(method, path, body), _RetryRule(self._refusal_seconds, self._clock)
        )

    def _request(self, method: str, path: str, body: Value | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token()}"}
        content = None if body is None else body.model_dump_json(by_alias=True).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._client.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise _WorkerApiUnavailable(
                f"worker API {method} {path}: {type(error).__name__} {error}; is the operator up?"
            ) from None
        try:
            _raise_for_status(response, f"worker API {method} {path}")
        except _WorkerApiUnavailable as error:
            self._rate_limited_until = self._clock() + (error.retry_after or 0)
            raise
        return response

    def _token(self) -> str:
        try:
            return self._token_file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise WorkerApiRefused(
                f"token file {self._token_file}: {error}; the pod needs its projected token"
            ) from None


class _RetryRule:
    """Retry rule: while the API is unavailable, and for a short time while it rejects the token."""

    def __init__(self, refusal_seconds: float, clock: Callable[[], float]) -> None:
        self._refusal_seconds = refusal_seconds
        self._clock = clock
        self._refused_since: float | None = None

    def __call__(self, error: Exception) -> bool | float:
        """True to retry, or the seconds to wait before it."""
        if not isinstance(error, WorkerApiRefused):
            self._refused_since = None
            return (error.retry_after or True) if isinstance(error, _WorkerApiUnavailable) else False
        now = self._clock()
        self._refused_since = self._refused_since or now
        return now - self._refused_since < self._refusal_seconds


def _raise_for_status(response: httpx.Response, request: str) -> None:
    code = response.status_code
    text = f"{request}: HTTP {code} {response.text[:200]}".rstrip()
    if code in (401, 403):
        raise WorkerApiRefused(f"{text}; the worker API rejects this pod's token")
    if code == 429:
        raise _WorkerApiUnavailable(text, _retry_after(response))
    if code in _TRANSIENT_CODES or code >= 500:
        raise _WorkerApiUnavailable(text)
    if not response.is_success:
        raise Retryable(f"{text}; expected 2xx")


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of the Retry-After header; None if absent or a date."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_RETRY_AFTER) if text.isdecimal() and len(text) < 10 else None


def _parse(model: type[M], response: httpx.Response) -> M:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors()[:5])
        raise Retryable(
            f"the worker API's {model.__name__} can't be read (wrong: {fields}); versions may differ"
        ) from None
