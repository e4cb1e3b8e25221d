"""Storing outputs: presigned PUTs from the worker API, one a file, 16 at a time over kept connections.

A PUT carries its length and checksum, so a store keeps all of it or nothing, and it creates only. Grants live for
minutes: where one has expired (by the clock, or 403), or the key exists (412), another is asked for. The worker API
then says that the file is stored as claimed, or removes what is in its place.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from itertools import islice
from time import monotonic

import httpx

from contentgen_contract.worker.orders import FileClaim, Outcome, StoredFile, UploadGrant
from contentgen_worker.download.connection import system_tls
from contentgen_worker.errors import Retryable, redacted
from contentgen_worker.files import JSON, Output
from contentgen_worker.log import event
from contentgen_worker.progress import Fraction
from contentgen_worker.retry import STORE, RetryPolicy

BATCH = 256  # UploadRequest.files
_PARALLEL = 16
_ROUNDS = 4  # of fresh grants without a file stored in between
_MARGIN_SECONDS = 30.0  # before a grant's end by our clock: the request has to arrive in time
_TIMEOUT = httpx.Timeout(60, connect=10)
RequestGrants = Callable[[Sequence[FileClaim]], tuple[UploadGrant, ...]]


class _PutResult(Enum):
    """Result of one file's PUT. Those that were not stored need another grant; the value says why."""

    STORED = "stored"
    EXPIRED = "the grant had expired when its turn came"
    REFUSED = "the store answered 403; check its clock and keys"
    EXISTS = "the store answered 412: another file is there, and is not removed"


class _KeyExists(Retryable):
    """The store answers 412: there is an object under this key."""


class _StoreUnavailable(Retryable):
    """The store can't be reached, or answers 5xx."""


class _SignatureExpired(Retryable):
    """The store answers 403: the signature is too old, most likely."""


class Uploader:
    """Puts files where the desk says. Use as a context manager."""

    def __init__(
        self, request_grants: RequestGrants, retry_policy: RetryPolicy = STORE, clock: Callable[[], float] = monotonic
    ) -> None:
        self._request_grants = request_grants
        self._clock = clock
        self._retry_policy = retry_policy
        limits = httpx.Limits(max_connections=_PARALLEL, max_keepalive_connections=_PARALLEL)
        self._client = httpx.Client(verify=system_tls(), trust_env=False, timeout=_TIMEOUT, limits=limits)

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def store(
        self, outputs: Sequence[Output], fraction: Fraction, make_rest: Callable[[], Sequence[Output]] = tuple
    ) -> tuple[StoredFile, ...]:
        """Store all files; `make_rest` makes the last of them while the others are sent. Raises Retryable where
        one can't be stored."""
        with ThreadPoolExecutor(1) as executor:
            upload = executor.submit(self._store_all, outputs, fraction)
            rest = make_rest()
            upload.result()
        self._store_all(rest, lambda _: None)
        return tuple(output.stored for output in (*outputs, *rest))

    def put_outcome(self, url: str, outcome: Outcome, new_url: Callable[[], str]) -> None:
        """Leave the outcome where the operator looks for it, also while it is away.

        `new_url` gives a fresh URL for one that has expired: those signed with temporary credentials end with them.
        """
        body = outcome.model_dump_json(by_alias=True).encode()
        output = Output.of_bytes("outcome", JSON, body)
        for _ in range(_ROUNDS):
            try:
                return self._put(url, {"Content-Type": JSON}, output)
            except _SignatureExpired:
                url = new_url()
        raise Retryable(f"outcome: the store answered 403 to {_ROUNDS} signed URLs; check its clock and keys")

    def _store_all(self, outputs: Sequence[Output], fraction: Fraction) -> None:
        done = 0
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="upload") as pool:
            queue = iter(outputs)
            while batch := list(islice(queue, BATCH)):
                self._store_batch(batch, pool)
                done += len(batch)
                fraction(done / len(outputs))

    def _store_batch(self, batch: list[Output], pool: ThreadPoolExecutor) -> None:
        """Ask for grants until every file is stored, for as long as each few rounds store one."""
        idle_rounds = 0
        while batch:
            remaining = self._upload_round(batch, pool)
            idle_rounds = idle_rounds + 1 if len(remaining) == len(batch) else 0
            if idle_rounds == _ROUNDS:
                output, result = remaining[0]
                raise Retryable(f"{output.name}: {result.value} ({_ROUNDS} times in a row, with fresh grants)")
            batch = [output for output, _ in remaining]

    def _upload_round(self, batch: list[Output], pool: ThreadPoolExecutor) -> list[tuple[Output, _PutResult]]:
        """One round of grants and PUTs; the files that are not stored yet."""
        requested_at = self._clock()
        grants = self._request_grants([output.claim for output in batch])
        due = [(output, grant) for output, grant in zip(batch, grants, strict=True) if not grant.stored]
        if len(due) < len(batch):
            event("stored already", files=len(batch) - len(due))
        results = pool.map(lambda pair: self._put_granted(pair[0], pair[1], requested_at), due)
        return [(output, each) for (output, _), each in zip(due, results, strict=True) if each is not _PutResult.STORED]

    def _put_granted(self, output: Output, grant: UploadGrant, requested_at: float) -> _PutResult:
        lifetime = grant.expires_seconds
        if lifetime is not None and self._clock() >= requested_at + lifetime - min(_MARGIN_SECONDS, lifetime / 2):
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
        length = {"Content-Length": str(output.size_bytes)}  # S3 knows no chunked PUT
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
    if code in (408, 409, 425, 429) or code >= 500:  # 409: another conditional PUT of this key is under way
        raise _StoreUnavailable(text)
    if not response.is_success:
        raise Retryable(f"{text} {response.text[:200]}; expected 200")
