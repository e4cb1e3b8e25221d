"""Log configuration: JSON or plain lines, with secrets redacted."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal

_EXTRA = ("jobId", "kind", "namespace", "resource", "purchase", "key", "caller")
_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@\"']+@")  # may hold a password
# The query of a presigned URL gives access to its file; so does an Authorization header.
_SECRET = re.compile(
    r"(?P<before>https?://[^\s?'\"]+)\?[^\s'\"]+"
    r"|(?P<scheme>(?:Key|Bearer) )[\w.:-]{8,}"
    r"|(?P<uri>mongodb(?:\+srv)?://)[^\s/@]+@"
)


def redacted(text: str) -> str:
    """Text with passwords, presigned queries and keys replaced by `…`."""
    text = _USER.sub(r"\g<scheme>…@", text)
    return _SECRET.sub(lambda found: (found["before"] or found["scheme"] or found["uri"]) + "…", text)


class PlainFormatter(logging.Formatter):
    """Plain lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, redacted."""
        return redacted(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, redacted."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _EXTRA if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redacted(json.dumps(line, default=str, ensure_ascii=False))


def configure(style: Literal["json", "plain"], level: str = "INFO") -> None:
    """Configure the logging of the process."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if style == "json" else PlainFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "botocore", "urllib3", "kopf", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
