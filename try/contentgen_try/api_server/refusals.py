"""Errors of the API, with the codes, reasons and messages of the Kubernetes API server."""

import json
from collections.abc import Sequence
from typing import Any

Body = dict[str, Any]

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class Refusal(Exception):
    """A request that is answered by a Status object with an HTTP status code."""

    def __init__(self, code: int, message: str, *, reason: str = "", details: Body | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or _REASONS.get(code, "")
        self.details = details or {}

    def status(self) -> Body:
        """The Status object."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


class FieldProblem(Exception):
    """Invalid value of a field; `path` is empty for the whole object. `expected`: what is valid, without the value."""

    def __init__(self, path: str, kind: str, detail: str, expected: str = "") -> None:
        super().__init__(f"{path or '<nil>'}: {detail}")
        self.path = path
        self.kind = kind  # a reason of a StatusCause, such as FieldValueRequired
        self.detail = detail
        self.expected = expected or detail


def required(path: str) -> FieldProblem:
    """A field that is missing."""
    return FieldProblem(path, "FieldValueRequired", "Required value", "is required")


def invalid_value(path: str, shown: str, detail: str) -> FieldProblem:
    """A value that does not fulfil a rule; `shown` is the value in JSON, or its type."""
    expected = detail.removeprefix(f"{path} in body ")
    return FieldProblem(path, "FieldValueInvalid", f"Invalid value: {shown}: {detail}", expected)


def shown(value: Any) -> str:
    """The value in JSON, with escapes for characters that cannot be printed."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def not_found(resource: str, name: str) -> Refusal:
    """404 for an object; `resource` is the plural with its group."""
    return Refusal(404, f'{resource} "{name}" not found', details={"name": name, "kind": resource})


def unknown_path() -> Refusal:
    """404 for a path that is not served."""
    return Refusal(404, "the server could not find the requested resource")


def already_exists(resource: str, name: str) -> Refusal:
    """409 for a creation."""
    return Refusal(409, f'{resource} "{name}" already exists', reason="AlreadyExists", details={"name": name})


def modified(resource: str, name: str, why: str = "") -> Refusal:
    """409 for a write on another version, or of another uid."""
    because = why or "the object has been modified; please apply your changes to the latest version and try again"
    return Refusal(409, f'Operation cannot be fulfilled on {resource} "{name}": {because}', details={"name": name})


def invalid(kind: str, name: str, problems: Sequence[FieldProblem]) -> Refusal:
    """422 for an object with invalid fields; `kind` has its group."""
    texts = list(dict.fromkeys(str(problem) for problem in problems))
    whole = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        {"reason": problem.kind, "message": problem.detail, "field": problem.path or "<nil>"} for problem in problems
    ]
    return Refusal(422, f'{kind} "{name}" is invalid: {whole}', details={"name": name, "causes": causes})
