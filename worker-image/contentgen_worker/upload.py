"""Upload of outputs by presigned PUTs from the worker API, 16 in parallel.

Each PUT carries length and checksum, so the store keeps the whole file or nothing, and never overwrites. Grants expire
after minutes. If one has expired (by the clock, or 403) or the key exists (412), a new grant is requested; the worker
API then reports the file as stored, or removes the object in its place.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from itertools import islice
from time import monotonic

import httpx

from contentgen_contract.worker.orders import FileOffer, Outcome, StoredFile, UploadGrant
from contentgen_worker.errors import Retryable, redacted
from contentgen_worker.files import JSON, Output
from contentgen_worker.log import event
from contentgen_worker.network import WorkerNetwork
from contentgen_worker.progress import Fraction
from contentgen_worker.retry import STORE, RetryPolicy

BATCH = 256  # UploadRequest.files
_PARALLEL = 16
_ROUNDS = 4  # rounds of fresh grants without any file stored
_MARGIN_SECONDS = 30.0  # before a grant's expiry by our clock: the request must arrive in time
_TIMEOUT = httpx.Timeout(60, connect=10)
_CHECK_403 = "check its clock and keys, and kms:GenerateDataKey and kms:Decrypt of a bucket with SSE-KMS"
RequestGrants = Callable[[Sequence[FileOffer]], tuple[UploadGrant, ...]]


class _PutResult(Enum):
    """Result of one PUT. All but STORED need another grant; the value is the reason."""

    STORED = "stored"
    EXPIRED = "the grant had expired before the upload began"
    REFUSED = f"the store answered 403; {_CHECK_403}"
    EXISTS = "the store answered 412: another file has this key and is not removed"


class _KeyExists(Retryable):
    """The store answered 412: the key exists."""


class _StoreUnavailable(Retryable):
    """The store can't be reached or answered 5xx."""


class _SignatureExpired(Retryable):
    """The store answered 403, most likely since the signature has expired."""


class Uploader:
    """Uploads files with grants of the worker API. Use as a context manager."""

    def __init__(
        self,
        request_grants: RequestGrants,
        retry_policy: RetryPolicy = STORE,
        clock: Callable[[], float] = monotonic,
        network: WorkerNetwork | None = None,
    ) -> None:
        self._request_grants = request_grants
        self._clock = clock
        self._retry_policy = retry_policy
        limits = httpx.Limits(max_connections=_PARALLEL, max_keepalive_connections=_PARALLEL)
        self._client = (network or WorkerNetwork()).store_client(_TIMEOUT, limits)

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def store(
        self, outputs: Sequence[Output], fraction: Fraction, make_rest: Callable[[], Sequence[Output]] = tuple
    ) -> tuple[StoredFile, ...]:
        """Upload all files; `make_rest` produces further files meanwhile. `fraction` gets the share done (0-1) of
        `outputs`.

        Raises Retryable if a file can't be stored.
        """
        with ThreadPoolExecutor(1) as executor:
            upload = executor.submit(self._store_all, outputs, fraction)
            rest = make_rest()
            upload.result()
        self._store_all(rest, lambda _: None)
        return tuple(output.stored for output in (*outputs, *rest))

    def put_outcome(self, url: str, outcome: Outcome, new_url: Callable[[], str]) -> None:
        """Upload the outcome to its presigned URL; works while the worker API is unavailable.

        `new_url`: returns a fresh URL if this one has expired, as those signed with temporary credentials do. Raises
        Retryable.
        """
        body = outcome.model_dump_json(by_alias=True).encode()
        output = Output.from_bytes("outcome", JSON, body)
        for _ in range(_ROUNDS):
            try:
                return self._put(url, {"Content-Type": JSON}, output)
            except _SignatureExpired:
                url = new_url()
        raise Retryable(f"outcome: the store answered 403 to {_ROUNDS} signed URLs; {_CHECK_403}")

    def _store_all(self, outputs: Sequence[Output], fraction: Fraction) -> None:
        done = 0
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="upload") as pool:
            queue = iter(outputs)
            while batch := list(islice(queue, BATCH)):
                self._store_batch(batch, pool)
                done += len(batch)
                fraction(done / len(outputs))

    def _store_batch(self, batch: list[Output], pool: ThreadPoolExecutor) -> None:
        """Request grants until every file is stored. Raises Retryable after four rounds in a row without success."""
        idle_rounds = 0
        while batch:
            remaining = self._upload_round(batch, pool)
            idle_rounds = idle_rounds + 1 if len(remaining) == len(batch) else 0
            if idle_rounds == _ROUNDS:
                output, result = remaining[0]
                raise Retryable(f"{output.name}: {result.value} ({_ROUNDS} times in a row, with fresh grants)")
            batch = [output for output, _ in remaining]

    def _upload_round(self, batch: list[Output], pool: ThreadPoolExecutor) -> list[tuple[Output, _PutResult]]:
        """One round of grants and PUTs. Returns the files not stored, with the reason."""
        requested_at = self._clock()
        grants = self._request_grants([output.offer for output in batch])
        due = [(output, grant) for output, grant in zip(batch, grants, strict=True) if not grant.stored]
        if len(due) < len(batch):
            event("stored already", files=len(batch) - len(due))
        results = pool.map(lambda pair: self._put_granted(pair[0], pair[1], requested_at), due)
        return [(output, each) for (output, _), each in zip(due, results, strict=True) if each is not _PutResult.STORED]

    def _put_granted(self, output: Output, grant: UploadGrant, requested_at: float) -> _PutResult:
        lifetime = grant.expires_seconds
        if self._clock() >= requested_at + lifetime - min(_MARGIN_SECONDS, lifetime / 2):
            return _PutResult.EXPIRED
        try:
            self._put(grant.url, grant.headers, output)
        except _SignatureExpired:
            return _PutResult.REFUSED
        except _KeyExists:
            return _PutResult.EXISTS
        return _PutResult.STORED

    def _put(self, url: str, headers: dict[str, str], output: Output) -> None:
        self._retry_policy.run(
            lambda: self._send(url, headers, output), lambda error: isinstance(error, _StoreUnavailable)
        )

    def _send(self, url: str, headers: dict[str, str], output: Output) -> None:
        length = {"Content-Length": str(output.size_bytes)}  # S3 supports no chunked PUT
        given = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        try:
            response = self._client.put(url, headers={**given, **length}, content=output.body())
        except httpx.TransportError as error:
            raise _StoreUnavailable(
                f"store PUT {redacted(url)}: {type(error).__name__} {error}; is the store up?"
            ) from None
        _raise_for_status(response, f"store PUT {redacted(url)}: HTTP {response.status_code}")


def _raise_for_status(response: httpx.Response, text: str) -> None:
    code = response.status_code
    if code == 403:
        raise _SignatureExpired(text)
    if code == 412:
        raise _KeyExists(text)
    if code in (408, 409, 425, 429) or code >= 500:  # 409: another conditional PUT of this key is in progress
        raise _StoreUnavailable(text)
    if not response.is_success:
        raise Retryable(f"{text} {response.text[:200]}; expected 200")
