"""Bodies of requests and responses."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.web.protobuf import NotDecoded, decoded

Body = dict[str, Any]
MOST_BYTES = 3 * 1024 * 1024
_ADVICE = "put the object into a file and use kubectl apply -f, which sends JSON to the API server of contentgen try"


async def read_json(request: Request) -> Any:
    """JSON value of a request's body; None for an empty body. Raises Refusal."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise Refusal(413, f"Request entity too large: limit is {MOST_BYTES}")
        parts.append(part)
    content = b"".join(parts)
    if "protobuf" not in request.headers.get("content-type", ""):
        return parsed(content)
    try:
        return decoded(content) if content else None
    except NotDecoded as error:
        raise Refusal(415, f"{error}: {_ADVICE}") from error


def parsed(content: bytes) -> Any:
    """The JSON value; None for no content. Invalid UTF-8 and lone surrogates become U+FFFD. Raises Refusal."""
    if not content.strip():
        return None
    try:
        value = json.loads(content.decode(errors="replace"), parse_constant=_no_constant)
        if b"\\ud" in content.lower():
            text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body of the request is no valid JSON: {error}"[:300]) from error
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


async def read_object(request: Request) -> Body:
    """JSON object of a request's body. Raises Refusal."""
    value = await read_json(request)
    if not isinstance(value, dict):
        raise Refusal(400, "the body of the request must be a JSON object")
    return value


def encoded(value: Any) -> bytes:
    """JSON in one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def answer(value: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON response."""
    return Response(encoded(value), code, headers, "application/json")


def refused(refusal: Refusal) -> Response:
    """Response of an error."""
    return answer(refusal.status(), refusal.code)
