"""Storing outputs: grants by the desk, then one PUT a file, 16 at a time over kept connections.

A PUT carries its length and checksum, so a store keeps all of it or nothing. What an earlier attempt has stored, as the
desk says, is not sent again.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx

from contentgen_contract.orders import FileClaim, Outcome, StoredFile, UploadGrant
from contentgen_worker.errors import Retryable, shown
from contentgen_worker.files import JSON, Output
from contentgen_worker.lane import system_tls
from contentgen_worker.log import event
from contentgen_worker.progress import Fraction
from contentgen_worker.retry import STORE, Patience

BATCH = 256  # UploadRequest.files
_PARALLEL = 16
_ROUNDS = 4  # of fresh grants for those that expired
_TIMEOUT = httpx.Timeout(60, connect=10)
Granter = Callable[[Sequence[FileClaim]], tuple[UploadGrant, ...]]


class _Away(Retryable):
    """The store can't be reached, or answers 5xx."""


class _Expired(Retryable):
    """The store answers 403: the signature is too old, most likely."""


class Uploader:
    """Puts files where the desk says. Use as a context manager."""

    def __init__(self, grants: Granter, patience: Patience = STORE) -> None:
        self._grants = grants
        self._patience = patience
        limits = httpx.Limits(max_connections=_PARALLEL, max_keepalive_connections=_PARALLEL)
        self._client = httpx.Client(verify=system_tls(), trust_env=False, timeout=_TIMEOUT, limits=limits)

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def store(
        self, outputs: Sequence[Output], fraction: Fraction, more: Callable[[], Sequence[Output]] = tuple
    ) -> tuple[StoredFile, ...]:
        """Store all files; `more` makes the last of them while the others are on their way. Raises Retryable where one
        can't be stored."""
        with ThreadPoolExecutor(1) as beside:
            begun = beside.submit(self._store_all, outputs, fraction)
            last = more()
            begun.result()
        self._store_all(last, lambda _: None)
        return tuple(output.stored for output in (*outputs, *last))

    def put_outcome(self, url: str, outcome: Outcome, another: Callable[[], str]) -> None:
        """Leave the outcome where the operator looks for it, also while it is away.

        `another` gives a fresh URL for one that has expired: those signed with temporary credentials end with them.
        """
        body = outcome.model_dump_json(by_alias=True).encode()
        output = Output.of_bytes("outcome", JSON, body)
        for _ in range(_ROUNDS):
            try:
                return self._put(url, {"Content-Type": JSON}, output)
            except _Expired:
                url = another()
        raise Retryable(f"outcome: the store answered 403 to {_ROUNDS} signed URLs; check its clock and keys")

    def _store_all(self, outputs: Sequence[Output], fraction: Fraction) -> None:
        done = 0
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="upload") as pool:
            rest = iter(outputs)
            while batch := list(islice(rest, BATCH)):
                self._store_batch(batch, pool)
                done += len(batch)
                fraction(done / len(outputs))

    def _store_batch(self, batch: list[Output], pool: ThreadPoolExecutor) -> None:
        for _ in range(_ROUNDS):
            grants = self._grants([output.claim for output in batch])
            due = [(output, grant) for output, grant in zip(batch, grants, strict=True) if not grant.stored]
            if len(due) < len(batch):
                event("stored already", files=len(batch) - len(due))
            expired = list(pool.map(lambda pair: self._has_expired(*pair), due))
            batch = [output for (output, _), late in zip(due, expired, strict=True) if late]
            if not batch:
                return
        raise Retryable(f"{batch[0].name}: the store answered 403 to {_ROUNDS} fresh grants; check its clock and keys")

    def _has_expired(self, output: Output, grant: UploadGrant) -> bool:
        try:
            self._put(grant.url, grant.headers, output)
        except _Expired:
            return True
        return False

    def _put(self, url: str, headers: dict[str, str], output: Output) -> None:
        self._patience.run(lambda: self._put_once(url, headers, output), lambda error: isinstance(error, _Away))

    def _put_once(self, url: str, headers: dict[str, str], output: Output) -> None:
        length = {"Content-Length": str(output.size_bytes)}  # S3 knows no chunked PUT
        given = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        try:
            response = self._client.put(url, headers={**given, **length}, content=output.body())
        except httpx.TransportError as error:
            raise _Away(f"store PUT {shown(url)}: {type(error).__name__} {error}; is the store up?") from None
        _raise_for(response, f"store PUT {shown(url)}: HTTP {response.status_code}")


def _raise_for(response: httpx.Response, text: str) -> None:
    code = response.status_code
    if code == 403:
        raise _Expired(text)
    if code in (408, 425, 429) or code >= 500:
        raise _Away(text)
    if not response.is_success:
        raise Retryable(f"{text} {response.text[:200]}; expected 200")
