"""One log line a transition, as JSON for machines or plain for people."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

_EXTRA = ("jobId", "purchase", "key")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _EXTRA if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(style: Literal["json", "plain"], level: str = "INFO") -> None:
    """Set the process's logging up."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if style == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "botocore", "urllib3", "kopf", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
