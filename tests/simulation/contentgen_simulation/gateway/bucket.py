"""In-memory bucket behind a real boto3 client that records requests; no network access."""

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.credentials import Credentials

from contentgen_gateway.stores.files import BucketFiles
from contentgen_runtime.s3 import connect
from contentgen_simulation.gateway.server import session

_LISTING = "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
_LISTED = (
    "<Contents><Key>{}</Key><Size>{}</Size><ETag>{}</ETag><LastModified>2026-11-01T00:00:00Z</LastModified></Contents>"
)
_MISSING = "<Error><Code>NoSuchKey</Code><Message>there is none</Message></Error>"


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Any:
        while chunk := self.read(65536):
            yield chunk


@dataclass
class RecordingBucket:
    """Objects by key; `reached` has every requested or signed key and prefix."""

    objects: dict[str, bytes] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def behind(self, files: BucketFiles) -> None:
        """Replace the client's transport, and record its signatures."""
        credentials = Credentials("nobody", "nothing")  # there are none in a test's environment
        files._credentials = credentials
        client: Any = connect(session(), "us-east-1", files._client.meta.endpoint_url)  # the worlds share the other one
        files._client = client
        client._request_signer._credentials = credentials
        client.meta.events.register("before-parameter-build.s3", self._note)
        client.meta.events.register("before-send.s3", self._answer)
        for name in ("url", "display_url"):
            setattr(files, name, self._seeing(getattr(files, name)))

    def _seeing(self, sign: Callable[..., str]) -> Callable[..., str]:
        def seen(key: str, *args: Any, **options: Any) -> str:
            self.reached.add(key)
            return sign(key, *args, **options)

        return seen

    def _note(self, params: dict[str, Any], **_: Any) -> None:
        doomed = (params.get("Delete") or {}).get("Objects", ())
        self.reached |= {params[name] for name in ("Key", "Prefix") if name in params}
        self.reached |= {stored_object["Key"] for stored_object in doomed}
        self.reached |= {"" for name in params if name == "Bucket" and len(params) == 1}

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        parts = urlsplit(request.url)
        key = unquote(parts.path.removeprefix("/").partition("/")[2])
        if request.method == "GET" and not key:
            return _reply(request.url, 200, self._listed(parts.query).encode())
        if request.method in ("GET", "HEAD"):
            found = self.objects.get(key)
            body = b"" if request.method == "HEAD" else _MISSING.encode() if found is None else found
            return _reply(request.url, 404 if found is None else 200, body, len(found or b""))
        if request.method == "PUT":
            self.objects[key] = bytes(cast("bytes", request.body) or b"")
        elif request.method == "DELETE":
            self.objects.pop(key, None)
        elif "delete" in parse_qs(parts.query, keep_blank_values=True):
            for each in re.findall(r"<Key>(.*?)</Key>", str(request.body)):
                self.objects.pop(each, None)
        return _reply(request.url, 200, b"<DeleteResult/>")

    def _listed(self, query: str) -> str:
        prefix = parse_qs(query).get("prefix", [""])[0]
        found = sorted((key, body) for key, body in self.objects.items() if key.startswith(prefix))
        return _LISTING.format("".join(_LISTED.format(escape(key), len(body), _etag(body)) for key, body in found))


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def _reply(url: str, status: int, body: bytes, length: int | None = None) -> AWSResponse:
    headers: Any = HeadersDict({"Content-Length": str(len(body) if length is None or body else length)})
    return AWSResponse(url, status, headers, _Raw(body))
